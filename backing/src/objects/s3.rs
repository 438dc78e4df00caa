//! Objects in an S3 bucket, with path-style addresses, so that every S3 clone will do. Nothing relies on conditional requests.

mod upload;

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client,
    config::{RequestChecksumCalculation, ResponseChecksumValidation},
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::time::timeout;
use url::Url;

use super::STEP_WITHIN;
use crate::{Error, Result};

pub(super) use self::upload::Upload;

const ATTEMPTS_MAX: u32 = 4;
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ATTEMPT_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(super) struct Bucket {
    client: Client,
    name: String,
    /// Empty, or with a slash at its end.
    prefix: String,
}

impl Bucket {
    pub(super) async fn open(url: &Url) -> Result<Self> {
        let name = url.host_str().filter(|name| !name.is_empty()).ok_or_else(|| Error::Config(format!("`{url}` names no bucket")))?;
        let query = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(ATTEMPT_WITHIN)
            .operation_attempt_timeout(ATTEMPT_WITHIN)
            .operation_timeout(STEP_WITHIN)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX));
        if let Some(endpoint) = query("endpoint") {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(region) = query("region") {
            loader = loader.region(Region::new(region));
        }
        let shared = loader.load().await;
        let region = shared.region().cloned().unwrap_or(Region::from_static("us-east-1"));
        // Newer checksums travel in trailers that many clones do not understand.
        let config = aws_sdk_s3::config::Builder::from(&shared)
            .region(region)
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        let prefix = url.path().trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { client: Client::from_conf(config), name: name.to_owned(), prefix })
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let request = self.client.put_object().bucket(&self.name).key(self.key(key)).body(ByteStream::from(bytes));
        in_time(request.send()).await?.map(drop).map_err(Error::from)
    }

    pub(super) fn writer(&self, key: &str) -> Upload {
        Upload::new(self.clone(), key.to_owned())
    }

    pub(super) async fn read(&self, key: &str, offset: u64, length: Option<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        if length == Some(0) {
            // A range cannot be empty; but the object has to be there all the same.
            let request = self.client.head_object().bucket(&self.name).key(self.key(key));
            let found = in_time(request.send()).await?;
            return found.map(|_| stream::empty().boxed()).map_err(|error| missing(key, error));
        }
        let range = match length {
            None if offset == 0 => None,
            None => Some(format!("bytes={offset}-")),
            Some(length) => Some(format!("bytes={offset}-{}", offset.saturating_add(length - 1))),
        };
        let request = self.client.get_object().bucket(&self.name).key(self.key(key)).set_range(range);
        let answer = in_time(request.send()).await?;
        match answer {
            Ok(object) => Ok(chunks(object.body)),
            // From its end on, an object has no bytes.
            Err(error) if status(&error) == Some(416) => Ok(stream::empty().boxed()),
            Err(error) => Err(missing(key, error)),
        }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let request = self.client.delete_object().bucket(&self.name).key(self.key(key));
        match in_time(request.send()).await? {
            Err(error) if status(&error) != Some(404) => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) async fn ping(&self) -> Result<()> {
        let request = self.client.head_bucket().bucket(&self.name);
        in_time(request.send()).await?.map(drop).map_err(Error::from)
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

/// A body chunk by chunk, each within the bound.
fn chunks(body: ByteStream) -> BoxStream<'static, Result<Bytes>> {
    stream::try_unfold(body, async |mut body| match in_time(body.next()).await? {
        Some(Ok(bytes)) => Ok(Some((bytes, body))),
        Some(Err(error)) => Err(Error::Objects(DisplayErrorContext(error).to_string())),
        None => Ok(None),
    })
    .boxed()
}

/// Bounds a wait and leaves the result as it is.
async fn in_time<T>(future: impl Future<Output = T>) -> Result<T> {
    timeout(STEP_WITHIN, future).await.map_err(|_| Error::Timeout { what: "the object store", after: STEP_WITHIN })
}

fn missing<E>(key: &str, error: SdkError<E>) -> Error
where
    SdkError<E>: Into<Error>,
{
    if status(&error) == Some(404) { Error::NoObject(key.to_owned()) } else { error.into() }
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

impl<E> From<SdkError<E>> for Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        Self::Objects(DisplayErrorContext(error).to_string())
    }
}
