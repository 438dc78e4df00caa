//! Objects in a folder of this machine: written beside, flushed, renamed. A key is a path below the folder.

use std::{
    io::{self, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use tokio::{
    fs::{self, File},
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufWriter},
};
use tokio_util::io::ReaderStream;
use url::Url;
use uuid::Uuid;

use super::STEP_WITHIN;
use crate::{Error, Result, error::within};

/// Where unfinished objects are; no key leads there.
const PARTIAL: &str = ".partial";

/// What a killed process left unfinished is removed after this time, when nobody can be writing it any more.
const PARTIAL_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Read and written at once.
const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Clone)]
pub(super) struct Folder {
    root: Arc<Path>,
}

impl Folder {
    pub(super) async fn open(url: &Url) -> Result<Self> {
        let root = url.to_file_path().map_err(|()| Error::Config(format!("`{url}` must be an absolute path: `file:///PATH`")))?;
        let partial = root.join(PARTIAL);
        fs::create_dir_all(&partial).await.map_err(|error| Error::Config(format!("cannot create `{}`: {error}", partial.display())))?;
        step(remove_old(&partial)).await?;
        Ok(Self { root: root.into() })
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let mut partial = self.writer(key).await?;
        partial.write(&bytes).await?;
        partial.finish().await
    }

    pub(super) async fn writer(&self, key: &str) -> Result<Partial> {
        let path = self.root.join(PARTIAL).join(Uuid::new_v4().to_string());
        let file = step(File::create_new(&path)).await?;
        Ok(Partial { file: BufWriter::with_capacity(CHUNK_BYTES, file), path, root: self.root.clone(), target: self.root.join(key) })
    }

    pub(super) async fn read(&self, key: &str, offset: u64, length: Option<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        let mut file = step(unless_missing(File::open(self.root.join(key)))).await?.ok_or_else(|| Error::NoObject(key.to_owned()))?;
        step(file.seek(SeekFrom::Start(offset))).await?;
        let part = file.take(length.unwrap_or(u64::MAX));
        Ok(ReaderStream::with_capacity(part, CHUNK_BYTES).map_err(failed).boxed())
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        step(unless_missing(fs::remove_file(self.root.join(key)))).await.map(drop)
    }

    pub(super) async fn ping(&self) -> Result<()> {
        step(fs::metadata(self.root.join(PARTIAL))).await.map(drop)
    }
}

/// An object that has not got its name yet. Dropping it removes the file.
pub(super) struct Partial {
    file: BufWriter<File>,
    path: PathBuf,
    root: Arc<Path>,
    target: PathBuf,
}

impl Partial {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        step(self.file.write_all(bytes)).await
    }

    pub(super) async fn finish(mut self) -> Result<()> {
        step(self.name()).await
    }

    /// The bytes are on the disk before the name is, and the name before we say so.
    async fn name(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.get_ref().sync_all().await?;
        let parent = self.target.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).await?;
        fs::rename(&self.path, &self.target).await?;
        for folder in parent.ancestors().take_while(|folder| folder.starts_with(&self.root)) {
            File::open(folder).await?.sync_all().await?;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a finish there is nothing left under this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn remove_old(partial: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(partial).await?;
    while let Some(entry) = entries.next_entry().await? {
        let age = entry.metadata().await.and_then(|metadata| metadata.modified())?.elapsed().unwrap_or_default();
        if age > PARTIAL_KEPT {
            fs::remove_file(entry.path()).await?;
        }
    }
    Ok(())
}

async fn unless_missing<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<Option<T>> {
    match step.await {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn step<T>(step: impl Future<Output = io::Result<T>>) -> Result<T> {
    within(STEP_WITHIN, "the folder", async { step.await.map_err(failed) }).await
}

fn failed(error: io::Error) -> Error {
    Error::Objects(error.to_string())
}
