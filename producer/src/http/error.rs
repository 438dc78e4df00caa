//! The one place that knows how failures read on the wire: OpenAI's envelope, and whether to try again.

use axum::{
    Json,
    body::to_bytes,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use domain::error::ApiError;

use crate::Failure;

/// Most that is read of what the router itself says about a fault.
const REASON_BYTES_MAX: usize = 1024;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(error) => refusal(&error),
            Self::Backing(error) => fault(&error),
        }
    }
}

/// An error in its envelope. The SDKs try a 409 again unless they are told not to.
pub(super) fn refusal(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(error.envelope())).into_response();
    if status == StatusCode::CONFLICT {
        response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    }
    response
}

/// A backing service failed. Logged here, once; the client learns that it should come back.
fn fault(error: &backing::Error) -> Response {
    tracing::error!(%error, "a call failed");
    if matches!(error, backing::Error::Config(_) | backing::Error::Corrupt(_)) {
        return refusal(&ApiError::server());
    }
    metrics::counter!("millrace_refused_for_overload_total").increment(1);
    let message = "A part of this service does not answer at the moment; please try again.";
    let mut response = refusal(&ApiError::new(503, "server_error", "overloaded", message));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Puts errors of the router's own making (unknown path, wrong method, unreadable parameter) into the envelope.
pub(super) async fn in_envelope(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return response;
    }
    let (parts, body) = response.into_parts();
    let reason = to_bytes(body, REASON_BYTES_MAX).await.unwrap_or_default();
    let mut enveloped = refusal(&named(status, &String::from_utf8_lossy(&reason)));
    keep_headers(enveloped.headers_mut(), parts.headers);
    enveloped
}

fn keep_headers(headers: &mut HeaderMap, of_the_router: HeaderMap) {
    for (name, value) in of_the_router {
        if let Some(name) = name.filter(|name| name != CONTENT_TYPE && name != CONTENT_LENGTH) {
            headers.insert(name, value);
        }
    }
}

fn named(status: StatusCode, reason: &str) -> ApiError {
    match status {
        StatusCode::NOT_FOUND => ApiError::not_found("not_found", "there is nothing at this path; GET /openapi.json lists what there is"),
        StatusCode::METHOD_NOT_ALLOWED => {
            ApiError::new(405, "invalid_request_error", "method_not_allowed", "this path does not take this method")
        }
        status if status.is_client_error() => ApiError::new(status.as_u16(), "invalid_request_error", "invalid_value", reason),
        _ => ApiError::server(),
    }
}
