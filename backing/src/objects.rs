//! Objects: the bytes of files, large bodies and large results, in an S3 bucket or a folder.

mod folder;
mod s3;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt, stream::BoxStream};

use crate::{Error, Result};

/// How long one chunk of a read, or one request of a write, may take.
const STEP_WITHIN: Duration = Duration::from_secs(60);

/// Longest key. Ours have less than a hundred bytes.
const KEY_BYTES_MAX: usize = 512;

/// A bucket prefix or a folder; clones share it.
#[derive(Clone)]
pub struct Objects(Side);

#[derive(Clone)]
enum Side {
    S3(s3::Bucket),
    Folder(folder::Folder),
}

impl Objects {
    /// `s3://bucket/prefix?endpoint=…&region=…` (path-style; credentials from the standard AWS environment) or `file:///PATH` (created).
    pub async fn open(url: &str) -> Result<Self> {
        let parsed = url::Url::parse(url).map_err(|fault| Error::Config(format!("the objects' URL `{url}` cannot be read: {fault}")))?;
        match parsed.scheme() {
            "s3" => Ok(Self(Side::S3(s3::Bucket::open(&parsed).await?))),
            "file" => Ok(Self(Side::Folder(folder::Folder::open(&parsed).await?))),
            _ => Err(Error::Config(format!("the objects' URL `{url}` must start with `s3://` or `file:///`"))),
        }
    }

    /// Stores a small object whole.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        check(key)?;
        match &self.0 {
            Side::S3(bucket) => bucket.put(key, bytes).await,
            Side::Folder(folder) => folder.put(key, bytes).await,
        }
    }

    /// Starts an object of unknown size. Nothing is visible before [`Writer::finish`].
    pub async fn create(&self, key: &str) -> Result<Writer> {
        check(key)?;
        let side = match &self.0 {
            Side::S3(bucket) => WriterSide::S3(bucket.writer(key)),
            Side::Folder(folder) => WriterSide::Folder(folder.writer(key).await?),
        };
        Ok(Writer { side, bytes: 0 })
    }

    /// The bytes from `offset`, at most `length` of them (`None`: to the end), as a stream. Each chunk is awaited within a bound.
    pub async fn read(&self, key: &str, offset: u64, length: Option<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        check(key)?;
        match &self.0 {
            Side::S3(bucket) => bucket.read(key, offset, length).await,
            Side::Folder(folder) => folder.read(key, offset, length).await,
        }
    }

    /// A part of an object in memory; the caller knows that it is small.
    pub async fn read_whole(&self, key: &str, offset: u64, length: Option<u64>) -> Result<Bytes> {
        let mut chunks = self.read(key, offset, length).await?;
        let mut whole = BytesMut::new();
        while let Some(chunk) = chunks.try_next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// Removes an object; it is fine if there is none.
    pub async fn delete(&self, key: &str) -> Result<()> {
        check(key)?;
        match &self.0 {
            Side::S3(bucket) => bucket.delete(key).await,
            Side::Folder(folder) => folder.delete(key).await,
        }
    }

    /// Whether the service answers.
    pub async fn ping(&self) -> Result<()> {
        match &self.0 {
            Side::S3(bucket) => bucket.ping().await,
            Side::Folder(folder) => folder.ping().await,
        }
    }
}

/// An object being written, with bounded memory (one part). Dropping it unfinished leaves nothing visible.
pub struct Writer {
    side: WriterSide,
    bytes: u64,
}

enum WriterSide {
    S3(s3::Upload),
    Folder(folder::Partial),
}

impl Writer {
    /// Appends bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.side {
            WriterSide::S3(upload) => upload.write(bytes).await?,
            WriterSide::Folder(partial) => partial.write(bytes).await?,
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the object visible and durable.
    pub async fn finish(self) -> Result<()> {
        match self.side {
            WriterSide::S3(upload) => upload.finish().await,
            WriterSide::Folder(partial) => partial.finish().await,
        }
    }

    /// Gives the object up and removes its parts.
    pub async fn abort(self) {
        match self.side {
            WriterSide::S3(upload) => upload.abort().await,
            WriterSide::Folder(partial) => drop(partial),
        }
    }
}

/// Keys are ours, never a client's; still, none may ever leave the prefix or the folder. A segment with a leading dot would be `.`, `..`
/// or the folder's own.
fn check(key: &str) -> Result<()> {
    let sound = |segment: &str| !segment.is_empty() && !segment.starts_with('.');
    if key.len() > KEY_BYTES_MAX || key.contains(['\\', '\0']) || !key.split('/').all(sound) {
        return Err(Error::Objects(format!("`{}` cannot be a key", key.escape_debug())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_folder() {
        for key in ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a/..", "a//b", "a/", "./a", ".partial/x", "a\\..\\b", "a\0"] {
            assert!(check(key).is_err(), "{key:?}");
        }
        for key in ["a", "files/file-abc", "results/req_1/2.json", "a..b"] {
            assert!(check(key).is_ok(), "{key:?}");
        }
    }
}
