//! Reading the JSON body of a call: of the right type, within its bound, and never slower than allowed.

use std::sync::Arc;

use axum::{
    body::BodyDataStream,
    extract::{FromRequest, Request},
    http::{
        HeaderMap, HeaderValue,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    },
};
use bytes::{Bytes, BytesMut};
use domain::error::ApiError;
use futures::StreamExt;

use crate::{Failure, Producer};

/// The text of a JSON body, not parsed yet. As the last argument of a handler it is read after the caller is known.
pub(super) struct JsonBody(pub(super) Bytes);

impl FromRequest<Arc<Producer>> for JsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, producer: &Arc<Producer>) -> Result<Self, Failure> {
        refuse_encoding(request.headers())?;
        expect_json(request.headers())?;
        let bytes_max = producer.settings.limits.body_bytes_max;
        if announced_bytes(request.headers()).is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(too_large(bytes_max).into());
        }
        read(request.into_body().into_data_stream(), producer, bytes_max).await.map(Self)
    }
}

async fn read(mut stream: BodyDataStream, producer: &Producer, bytes_max: usize) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = in_time(producer, stream.next()).await? {
        let chunk = chunk.map_err(|_| cut_off())?;
        if body.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max).into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Bounds the wait for the next bytes of a body.
pub(super) async fn in_time<T>(producer: &Producer, next: impl Future<Output = T>) -> Result<T, ApiError> {
    let limit = producer.settings.body_timeout;
    tokio::time::timeout(limit, next)
        .await
        .map_err(|_| ApiError::invalid("body_too_slow", format!("no bytes of the body came within {} s", limit.as_secs())))
}

/// The connection broke in the middle of a body. Nobody reads this, but the log counts it.
pub(super) fn cut_off() -> ApiError {
    ApiError::invalid("body_cut_off", "the body ended before its announced end")
}

/// Compressed bodies are refused: their true size shows only when it is too late.
pub(super) fn refuse_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(CONTENT_ENCODING).map(text) {
        None | Some("identity") => Ok(()),
        Some(_) => Err(unsupported("send the body without a Content-Encoding")),
    }
}

/// The length that a body claims to have.
pub(super) fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|length| text(length).parse().ok())
}

/// A browser sends other types without asking the server first.
fn expect_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(CONTENT_TYPE).map(text).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        Ok(())
    } else {
        Err(unsupported("send JSON with `Content-Type: application/json`"))
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// Tells which parameters of a body are unknown and had no effect, as far as their names fit a header.
pub(super) fn name_ignored(headers: &mut HeaderMap, names: &str) {
    if !names.is_empty()
        && let Ok(names) = HeaderValue::from_str(&names.chars().take(1024).collect::<String>())
    {
        headers.insert("x-millrace-ignored-params", names);
    }
}

/// A 415 that says what would be supported.
pub(super) fn unsupported(message: &str) -> ApiError {
    ApiError::new(415, "invalid_request_error", "unsupported_media_type", message)
}

fn too_large(bytes_max: usize) -> ApiError {
    let message = format!("the body may have at most {bytes_max} bytes");
    ApiError::new(413, "invalid_request_error", "request_too_large", message)
}
