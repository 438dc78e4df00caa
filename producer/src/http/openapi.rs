//! The description of this API, made from the handlers themselves, and a page that shows it without any foreign script.

use std::sync::LazyLock;

use axum::{
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{Html, IntoResponse, Response},
};
use utoipa::OpenApi;

use super::{batches, completions, files, health, models, requests};

#[derive(OpenApi)]
#[openapi(
    info(title = "Millrace", description = "Asynchronous batch inference: accepts every request, answers when there is room."),
    paths(
        files::upload,
        files::list,
        files::show,
        files::delete,
        files::content,
        batches::create,
        batches::list,
        batches::show,
        batches::cancel,
        completions::chat,
        completions::text,
        requests::show,
        models::list,
        models::show,
        health::live,
        health::ready,
        health::metrics,
    )
)]
struct Api;

/// The document is the same for the life of the process.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| Api::openapi().to_json().unwrap_or_default());

/// Nothing from elsewhere may run or be loaded.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'";

/// `GET /openapi.json`
pub(super) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// `GET /docs`
pub(super) async fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("page.html"))).into_response()
}
