//! For those who operate the service: is it alive, can it accept work, and its metrics.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use domain::error::ApiError;
use serde_json::{Value, json};

use crate::{Failure, Producer};

/// A service that takes longer to answer is not ready.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The process runs.
#[utoipa::path(get, path = "/livez", tag = "operation", responses((status = 200, description = "The process runs")))]
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Work can be accepted: store and objects answer. The queue is reported but not needed: work waits in the store.
#[utoipa::path(
    get, path = "/readyz", tag = "operation",
    responses((status = 200, description = "Work can be accepted"), (status = 503, description = "Store or objects do not answer"))
)]
pub(super) async fn ready(State(producer): State<Arc<Producer>>) -> Result<Json<Value>, Failure> {
    let backing = &producer.backing;
    let (store, objects) = tokio::join!(
        backing::error::within(ANSWER_WITHIN, "store", backing.store.ping()),
        backing::error::within(ANSWER_WITHIN, "objects", backing.objects.ping()),
    );
    for (what, answer) in [("store", store), ("object store", objects)] {
        if let Err(error) = answer {
            tracing::warn!(what, %error, "not ready");
            return Err(ApiError::new(503, "server_error", "not_ready", format!("the {what} does not answer")).into());
        }
    }
    Ok(Json(json!({ "status": "ok", "store": true, "objects": true, "queue": backing.queue.is_ready() })))
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, description = "Metrics of this process")))]
pub(super) async fn metrics(State(producer): State<Arc<Producer>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], producer.metrics.render()).into_response()
}
