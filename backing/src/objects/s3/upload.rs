//! An object on its way into a bucket: one request if it is small, parts of a fixed size if it is not. One part is in memory at a time.

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::{Bytes, BytesMut};

use super::{Bucket, in_time};
use crate::{Error, Result};

/// With at most 10,000 parts, an object may have 78 GiB.
const PART_BYTES: usize = 8 * 1024 * 1024;

pub(in super::super) struct Upload {
    bucket: Bucket,
    key: String,
    part: BytesMut,
    /// Set once the first part is full.
    multipart: Option<Multipart>,
}

/// A multipart upload. Dropped unfinished, it is aborted in the background; what even that misses, the bucket's own rules have to collect.
struct Multipart {
    bucket: Bucket,
    key: String,
    id: String,
    parts: Vec<CompletedPart>,
    open: bool,
}

impl Upload {
    pub(super) fn new(bucket: Bucket, key: String) -> Self {
        Self { bucket, key, part: BytesMut::new(), multipart: None }
    }

    pub(in super::super) async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PART_BYTES - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = later;
            if self.part.len() == PART_BYTES {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    pub(in super::super) async fn finish(mut self) -> Result<()> {
        if self.multipart.is_none() {
            return self.bucket.put(&self.key, self.part.freeze()).await;
        }
        if !self.part.is_empty() {
            self.send_part().await?;
        }
        match self.multipart {
            Some(multipart) => multipart.complete().await,
            None => Ok(()),
        }
    }

    pub(in super::super) async fn abort(self) {
        if let Some(mut multipart) = self.multipart {
            multipart.open = false;
            abort(multipart.bucket.clone(), multipart.key.clone(), multipart.id.clone()).await;
        }
    }

    async fn send_part(&mut self) -> Result<()> {
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            none => none.insert(Multipart::start(&self.bucket, &self.key).await?),
        };
        multipart.send(self.part.split().freeze()).await
    }
}

impl Multipart {
    async fn start(bucket: &Bucket, key: &str) -> Result<Self> {
        let request = bucket.client.create_multipart_upload().bucket(&bucket.name).key(bucket.key(key));
        let started = in_time(request.send()).await??;
        let id = started.upload_id.ok_or_else(|| Error::Objects("the store gave the upload no id".to_owned()))?;
        Ok(Self { bucket: bucket.clone(), key: bucket.key(key), id, parts: Vec::new(), open: true })
    }

    async fn send(&mut self, bytes: Bytes) -> Result<()> {
        let number = self.parts.len() as i32 + 1;
        let request = self.bucket.client.upload_part().bucket(&self.bucket.name).key(&self.key).upload_id(&self.id);
        let sending = request.part_number(number).body(ByteStream::from(bytes)).send();
        let sent = in_time(sending).await??;
        self.parts.push(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
        Ok(())
    }

    async fn complete(mut self) -> Result<()> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.parts))).build();
        let request = self.bucket.client.complete_multipart_upload().bucket(&self.bucket.name).key(&self.key).upload_id(&self.id);
        in_time(request.multipart_upload(parts).send()).await??;
        self.open = false;
        Ok(())
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        if self.open
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(abort(self.bucket.clone(), self.key.clone(), self.id.clone()));
        }
    }
}

async fn abort(bucket: Bucket, key: String, id: String) {
    let request = bucket.client.abort_multipart_upload().bucket(&bucket.name).key(&key).upload_id(id);
    if let Err(error) = in_time(request.send()).await.and_then(|sent| Ok(sent?)) {
        tracing::warn!(key, %error, "an unfinished upload could not be removed");
    }
}
