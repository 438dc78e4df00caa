//! Objects: the bytes of files, large bodies and large results, in an S3 bucket or a folder.

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::Result;

/// A bucket prefix or a folder; clones share it.
#[derive(Clone)]
pub struct Objects;

impl Objects {
    /// `s3://bucket/prefix?endpoint=…&region=…` (path-style; credentials from the standard AWS environment) or `file:///PATH` (created).
    pub async fn open(url: &str) -> Result<Self> {
        todo!("{url}")
    }

    /// Stores a small object whole.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        todo!("{key} {bytes:?}")
    }

    /// Starts an object of unknown size. Nothing is visible before [`Writer::finish`].
    pub async fn create(&self, key: &str) -> Result<Writer> {
        todo!("{key}")
    }

    /// The bytes from `offset`, at most `length` of them (`None`: to the end), as a stream. Each chunk is awaited within a bound.
    pub async fn read(&self, key: &str, offset: u64, length: Option<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        todo!("{key} {offset} {length:?}")
    }

    /// A part of an object in memory; the caller knows that it is small.
    pub async fn read_whole(&self, key: &str, offset: u64, length: Option<u64>) -> Result<Bytes> {
        todo!("{key} {offset} {length:?}")
    }

    /// Removes an object; it is fine if there is none.
    pub async fn delete(&self, key: &str) -> Result<()> {
        todo!("{key}")
    }

    /// Whether the service answers.
    pub async fn ping(&self) -> Result<()> {
        todo!()
    }
}

/// An object being written, with bounded memory (one part). Dropping it unfinished leaves nothing visible.
pub struct Writer;

impl Writer {
    /// Appends bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        todo!("{}", bytes.len())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        todo!()
    }

    /// Makes the object visible and durable.
    pub async fn finish(self) -> Result<()> {
        todo!()
    }

    /// Gives the object up and removes its parts.
    pub async fn abort(self) {
        todo!()
    }
}
