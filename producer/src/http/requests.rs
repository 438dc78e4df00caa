//! Looking for the answer of a request later: 202 while it is on its way, then exactly what a waiting call would have got.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use chrono::Utc;
use domain::{
    error::ApiError,
    id::RequestId,
    request::{Endpoint, State as RequestState},
};
use serde_json::{Value, json};

use super::auth::Caller;
use crate::{Failure, Producer, wait::Ended};

/// Longest pause that a polling client is asked for, in seconds.
const RETRY_AFTER_MAX: i64 = 30;

/// The answer of a single request, under any spelling of its id.
#[utoipa::path(
    get, path = "/v1/requests/{id}", tag = "generation", params(("id" = String, Path)),
    responses((status = 200, description = "The answer"), (status = 202, description = "Still on its way; `Retry-After` says when to look again"))
)]
pub(super) async fn show(State(producer): State<Arc<Producer>>, caller: Caller, Path(id): Path<String>) -> Result<Response, Failure> {
    let unknown = || ApiError::not_found("not_found", "there is no such request");
    let id = RequestId::parse_any(&id).map_err(|_| unknown())?;
    let view = producer.backing.store.single(caller.tenant, id).await?.ok_or_else(unknown)?;
    let running = view.state == RequestState::Running;
    let stub = stub(id, view.endpoint, &view.model, view.created_at, running);
    let age = Utc::now().timestamp() - view.created_at;
    Ok(match Ended::of(&producer.backing, view).await? {
        Some(ended) => ended.into_response(),
        None => on_its_way(stub, age),
    })
}

/// 202: the request is committed, and this is where its answer will be.
pub(super) fn accepted(id: RequestId, endpoint: Endpoint, model: &str) -> Response {
    let mut response = on_its_way(stub(id, endpoint, model, Utc::now().timestamp(), false), 0);
    if let Ok(location) = HeaderValue::try_from(format!("/v1/requests/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response.headers_mut().insert("preference-applied", HeaderValue::from_static("respond-async"));
    response
}

impl IntoResponse for Ended {
    /// A failure has had all the attempts that it will get: trying again would only ask the same question.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if !status.is_success() {
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

fn on_its_way(stub: Value, age: i64) -> Response {
    (StatusCode::ACCEPTED, [(RETRY_AFTER, retry_after(age).to_string())], Json(stub)).into_response()
}

/// The older a request, the longer it pays to look away.
fn retry_after(age: i64) -> i64 {
    (age / 10).clamp(1, RETRY_AFTER_MAX)
}

fn stub(id: RequestId, endpoint: Endpoint, model: &str, created: i64, running: bool) -> Value {
    let status = if running { "in_progress" } else { "queued" };
    json!({
        "id": id.prefixed(endpoint.id_prefix()), "object": endpoint.object(), "created": created, "model": model,
        "choices": [], "millrace": { "status": status, "eta": null },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_asked_to_look_at_first_often_and_later_seldom() {
        assert_eq!([-5, 0, 15, 60, 1_000_000].map(retry_after), [1, 1, 1, 6, 30]);
    }
}
