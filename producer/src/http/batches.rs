//! Batches: create, list, look, cancel.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use domain::{
    batch::{Batch, State as BatchState},
    error::ApiError,
    id::BatchId,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    auth::Caller,
    body::{JsonBody, name_ignored},
    paging,
};
use crate::{
    Failure, Producer,
    submit::{BatchOrder, create_batch},
};

/// Creates a batch from an uploaded file. The lines are checked later; faults in them show in the batch.
#[utoipa::path(
    post, path = "/v1/batches", tag = "batches", request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "The batch, `validating`"), (status = 404, description = "No such input file"))
)]
pub(super) async fn create(State(producer): State<Arc<Producer>>, caller: Caller, JsonBody(body): JsonBody) -> Result<Response, Failure> {
    let order = BatchOrder::parse(&body, &producer.settings.limits)?;
    let ignored = order.ignored.join(", ");
    let batch = create_batch(&producer.backing, caller.tenant, order).await?;
    let mut response = Json(batch.to_json()).into_response();
    name_ignored(response.headers_mut(), &ignored);
    Ok(response)
}

/// The query of a listing.
#[derive(Deserialize)]
pub(super) struct Listing {
    after: Option<String>,
    limit: Option<String>,
}

/// Lists batches, the newest first.
#[utoipa::path(
    get, path = "/v1/batches", tag = "batches", params(("after" = Option<String>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, description = "A page of batches"))
)]
pub(super) async fn list(
    State(producer): State<Arc<Producer>>,
    caller: Caller,
    Query(listing): Query<Listing>,
) -> Result<Json<Value>, Failure> {
    let limit = paging::limit(listing.limit.as_deref(), 20, 100)?;
    let after = paging::cursor(listing.after.as_deref())?;
    let page = producer.backing.store.batches(caller.tenant, after, limit).await?.ok_or_else(paging::invalid_cursor)?;
    Ok(paging::list(page.items.iter().map(Batch::to_json).collect(), page.has_more))
}

/// Shows a batch.
#[utoipa::path(
    get, path = "/v1/batches/{id}", tag = "batches", params(("id" = String, Path)),
    responses((status = 200, description = "The batch"))
)]
pub(super) async fn show(State(producer): State<Arc<Producer>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let batch = producer.backing.store.batch(caller.tenant, parse(&id)?).await?.ok_or_else(no_such_batch)?;
    Ok(Json(batch.to_json()))
}

/// Cancels a batch. Welcome again and again.
#[utoipa::path(
    post, path = "/v1/batches/{id}/cancel", tag = "batches", params(("id" = String, Path)),
    responses((status = 200, description = "The batch, `cancelling` or `cancelled`"), (status = 409, description = "It has ended otherwise"))
)]
pub(super) async fn cancel(State(producer): State<Arc<Producer>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let batch = producer.backing.store.cancel_batch(caller.tenant, parse(&id)?).await?.ok_or_else(no_such_batch)?;
    match batch.state {
        BatchState::Cancelling | BatchState::Cancelled => Ok(Json(batch.to_json())),
        state => {
            let message = format!("Cannot cancel a batch with status {}.", state.name());
            Err(ApiError::new(409, "invalid_request_error", "batch_not_cancellable", message).into())
        }
    }
}

fn parse(id: &str) -> Result<BatchId, ApiError> {
    id.parse().map_err(|_| no_such_batch())
}

fn no_such_batch() -> ApiError {
    ApiError::not_found("not_found", "there is no such batch")
}
