//! Storing a file as it comes: its bytes go to the object store chunk by chunk, its row makes it visible at the end.

use backing::{Backing, objects::Writer};
use chrono::Utc;
use domain::{
    error::ApiError,
    file::{File, Purpose},
    id::{FileId, TenantId},
};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{FILE_SECONDS_MAX, FILE_SECONDS_MIN};
use crate::Failure;

/// A file that is being written. Nobody sees it before [`FileDraft::keep`]; dropped without it, nothing remains.
pub struct FileDraft {
    id: FileId,
    tenant: TenantId,
    key: String,
    bytes_max: u64,
    writer: Writer,
}

impl FileDraft {
    /// Begins a file of at most `bytes_max` bytes.
    pub async fn open(backing: &Backing, tenant: TenantId, bytes_max: u64) -> Result<Self, Failure> {
        let id = FileId::new();
        let key = File::key_of(tenant, id);
        let writer = backing.objects.create(&key).await?;
        Ok(Self { id, tenant, key, bytes_max, writer })
    }

    /// Appends bytes, or refuses the file for its size.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.writer.bytes() + bytes.len() as u64 > self.bytes_max {
            return Err(too_large(self.bytes_max).into());
        }
        Ok(self.writer.write(bytes).await?)
    }

    /// Gives the file up at once instead of whenever the object store cleans up.
    pub async fn discard(self) {
        self.writer.abort().await;
    }

    /// Makes the file visible. `lifetime` in seconds; 30 days if none is given.
    pub async fn keep(self, backing: &Backing, filename: &str, lifetime: Option<i64>) -> Result<File, Failure> {
        let bytes = self.writer.bytes();
        self.writer.finish().await?;
        let created_at = Utc::now().timestamp();
        let file = File {
            id: self.id,
            tenant: self.tenant,
            purpose: Purpose::Batch,
            filename: filename.chars().filter(|letter| !letter.is_control()).take(FILENAME_CHARS_MAX).collect(),
            bytes,
            key: self.key,
            created_at,
            expires_at: Some(created_at + lifetime.unwrap_or(FILE_SECONDS_MAX)),
        };
        if let Err(error) = backing.store.insert_file(&file).await {
            // An object that no row names would stay for ever. The commit may have happened all the same: then keep it.
            if let Ok(None) = backing.store.file(file.tenant, file.id).await
                && let Err(error) = backing.objects.delete(&file.key).await
            {
                tracing::warn!(key = file.key, %error, "an object without a row is left behind");
            }
            return Err(error.into());
        }
        Ok(file)
    }
}

const FILENAME_CHARS_MAX: usize = 255;
const COPY_BYTES: usize = 256 << 10;

/// Stores a local file or any other reader as a batch input file.
pub async fn store_file(
    backing: &Backing,
    tenant: TenantId,
    filename: &str,
    mut reader: impl AsyncRead + Unpin,
    bytes_max: u64,
) -> Result<File, Failure> {
    let mut draft = FileDraft::open(backing, tenant, bytes_max).await?;
    let mut chunk = vec![0; COPY_BYTES];
    loop {
        match reader.read(&mut chunk).await {
            Ok(0) => return draft.keep(backing, filename, None).await,
            Ok(length) => draft.write(&chunk[..length]).await?,
            Err(error) => {
                draft.discard().await;
                return Err(ApiError::invalid("unreadable_file", format!("{filename}: {error}")).into());
            }
        }
    }
}

/// The refusal of a file over the limit.
pub(crate) fn too_large(bytes_max: u64) -> ApiError {
    let message = format!("a file may have at most {bytes_max} bytes");
    ApiError::new(413, "invalid_request_error", "request_too_large", message).param("file")
}

/// Checks a lifetime that a client asks for: an anchor and seconds from an hour to 30 days.
pub(crate) fn lifetime(param: &str, anchor: Option<&str>, seconds: Option<i64>) -> Result<i64, ApiError> {
    if anchor != Some("created_at") {
        return Err(ApiError::invalid_value(format!("{param}.anchor"), "`anchor` must be `created_at`"));
    }
    seconds.filter(|seconds| (FILE_SECONDS_MIN..=FILE_SECONDS_MAX).contains(seconds)).ok_or_else(|| {
        ApiError::invalid_value(format!("{param}.seconds"), format!("`seconds` must be from {FILE_SECONDS_MIN} to {FILE_SECONDS_MAX}"))
    })
}
