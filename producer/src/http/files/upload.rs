//! Uploads: a multipart form, its fields in any order, spooled to the object store as it comes. A broken upload leaves nothing.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        FromRequest, Multipart, Request, State,
        multipart::{Field, MultipartError},
    },
};
use domain::{
    error::ApiError,
    file::{File, Purpose},
};
use serde_json::Value;

use crate::{
    Failure, Producer,
    http::{
        auth::Caller,
        body::{announced_bytes, cut_off, in_time, refuse_encoding, unsupported},
    },
    submit::{FileDraft, lifetime, too_large},
};

/// Room for the fields beside the file, and for the framing.
const FORM_BYTES_MAX: u64 = 64 << 10;
/// Longest value of a field beside the file.
const FIELD_BYTES_MAX: usize = 256;

/// Uploads a batch input file.
#[utoipa::path(
    post, path = "/v1/files", tag = "files", request_body(content = Object, content_type = "multipart/form-data"),
    responses((status = 200, description = "The file"), (status = 413, description = "It is too large"))
)]
pub(crate) async fn upload(State(producer): State<Arc<Producer>>, caller: Caller, request: Request) -> Result<Json<Value>, Failure> {
    refuse_encoding(request.headers())?;
    let bytes_max = producer.settings.limits.file_bytes_max;
    if announced_bytes(request.headers()).is_some_and(|bytes| bytes > bytes_max.saturating_add(FORM_BYTES_MAX)) {
        return Err(too_large(bytes_max).into());
    }
    let form = Multipart::from_request(request, &()).await.map_err(|_| unsupported("send the file as `multipart/form-data`"))?;
    let mut upload = Upload::default();
    match upload.read(&producer, caller, form).await {
        Ok(()) => Ok(Json(upload.keep(&producer).await?.to_json())),
        Err(failure) => {
            upload.discard().await;
            Err(failure)
        }
    }
}

/// What has come of a form so far.
#[derive(Default)]
struct Upload {
    file: Option<(FileDraft, String)>,
    purpose: Option<String>,
    anchor: Option<String>,
    seconds: Option<String>,
}

impl Upload {
    async fn read(&mut self, producer: &Producer, caller: Caller, mut form: Multipart) -> Result<(), Failure> {
        while let Some(field) = in_time(producer, form.next_field()).await?.map_err(unreadable)? {
            match field.name() {
                Some("file") => self.spool(producer, caller, field).await?,
                Some("purpose") => self.purpose = Some(text(producer, field).await?),
                Some("expires_after[anchor]") => self.anchor = Some(text(producer, field).await?),
                Some("expires_after[seconds]") => self.seconds = Some(text(producer, field).await?),
                name => return Err(unknown_field(name.unwrap_or_default()).into()),
            }
        }
        self.check_purpose()?;
        self.lifetime()?;
        self.file.as_ref().map(|_| ()).ok_or_else(|| ApiError::missing("file").into())
    }

    /// The purpose may come after the file, so the bytes are spooled before it is known whether they are wanted.
    async fn spool(&mut self, producer: &Producer, caller: Caller, mut field: Field<'_>) -> Result<(), Failure> {
        if self.file.is_some() {
            return Err(ApiError::invalid_value("file", "send one file in one call").into());
        }
        if self.purpose.is_some() {
            self.check_purpose()?;
        }
        let filename = field.file_name().unwrap_or("upload").to_owned();
        let draft = FileDraft::open(&producer.backing, caller.tenant, producer.settings.limits.file_bytes_max).await?;
        let (draft, _) = self.file.insert((draft, filename));
        while let Some(chunk) = in_time(producer, field.chunk()).await?.map_err(unreadable)? {
            draft.write(&chunk).await?;
        }
        Ok(())
    }

    fn check_purpose(&self) -> Result<(), ApiError> {
        match self.purpose.as_deref() {
            None => Err(ApiError::missing("purpose")),
            Some(name) if name == Purpose::Batch.name() => Ok(()),
            Some(_) => Err(ApiError::unsupported("purpose", "the only supported purpose is `batch`")),
        }
    }

    fn lifetime(&self) -> Result<Option<i64>, ApiError> {
        if self.anchor.is_none() && self.seconds.is_none() {
            return Ok(None);
        }
        let seconds = self.seconds.as_deref().and_then(|seconds| seconds.parse().ok());
        lifetime("expires_after", self.anchor.as_deref(), seconds).map(Some)
    }

    async fn keep(self, producer: &Producer) -> Result<File, Failure> {
        let lifetime = self.lifetime()?;
        let (draft, filename) = self.file.ok_or_else(|| ApiError::missing("file"))?;
        draft.keep(&producer.backing, &filename, lifetime).await
    }

    async fn discard(self) {
        if let Some((draft, _)) = self.file {
            draft.discard().await;
        }
    }
}

async fn text(producer: &Producer, mut field: Field<'_>) -> Result<String, Failure> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut text = Vec::new();
    while let Some(chunk) = in_time(producer, field.chunk()).await?.map_err(unreadable)? {
        text.extend_from_slice(&chunk);
        if text.len() > FIELD_BYTES_MAX {
            return Err(ApiError::invalid_value(name, format!("the field may have at most {FIELD_BYTES_MAX} bytes")).into());
        }
    }
    String::from_utf8(text).map_err(|_| ApiError::invalid_value(name, "the field must be UTF-8").into())
}

fn unknown_field(name: &str) -> ApiError {
    let name: String = name.chars().take(64).collect();
    ApiError::unsupported(name, "the form takes `file`, `purpose`, `expires_after[anchor]` and `expires_after[seconds]`")
}

fn unreadable(error: MultipartError) -> ApiError {
    if error.status().is_client_error() {
        ApiError::invalid("invalid_multipart", "the multipart form is malformed or cut off")
    } else {
        cut_off()
    }
}
