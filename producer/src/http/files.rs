//! Files: what clients upload and what batches leave behind.

mod content;
mod upload;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use backing::store::Order;
use domain::{
    error::ApiError,
    file::{File, Purpose},
    id::FileId,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{auth::Caller, paging};
use crate::{Failure, Producer};

pub(super) use content::content;
pub(super) use upload::upload;
// The macros of utoipa put these beside the handlers that they describe.
pub(super) use content::__path_content;
pub(super) use upload::__path_upload;

/// The query of a listing.
#[derive(Deserialize)]
pub(super) struct Listing {
    after: Option<String>,
    limit: Option<String>,
    order: Option<String>,
    purpose: Option<String>,
}

/// Lists files.
#[utoipa::path(
    get, path = "/v1/files", tag = "files",
    params(("after" = Option<String>, Query), ("limit" = Option<u32>, Query), ("order" = Option<String>, Query), ("purpose" = Option<String>, Query)),
    responses((status = 200, description = "A page of files"))
)]
pub(super) async fn list(
    State(producer): State<Arc<Producer>>,
    caller: Caller,
    Query(listing): Query<Listing>,
) -> Result<Json<Value>, Failure> {
    let limit = paging::limit(listing.limit.as_deref(), 10_000, 10_000)?;
    let after = paging::cursor(listing.after.as_deref())?;
    let order = match listing.order.as_deref() {
        None | Some("desc") => Order::NewestFirst,
        Some("asc") => Order::OldestFirst,
        Some(_) => return Err(ApiError::invalid_value("order", "`order` must be `asc` or `desc`").into()),
    };
    let purpose = match listing.purpose.as_deref().map(Purpose::from_name) {
        None => None,
        Some(Some(purpose)) => Some(purpose),
        // A purpose that no file can have here.
        Some(None) => return Ok(paging::list(Vec::new(), false)),
    };
    let page = producer.backing.store.files(caller.tenant, purpose, after, limit, order).await?.ok_or_else(paging::invalid_cursor)?;
    Ok(paging::list(page.items.iter().map(File::to_json).collect(), page.has_more))
}

/// Shows a file.
#[utoipa::path(
    get, path = "/v1/files/{id}", tag = "files", params(("id" = String, Path)), responses((status = 200, description = "The file"))
)]
pub(super) async fn show(State(producer): State<Arc<Producer>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    Ok(Json(find(&producer, caller, &id).await?.to_json()))
}

/// Deletes a file: hidden at once, its bytes go when no batch reads them any more.
#[utoipa::path(
    delete, path = "/v1/files/{id}", tag = "files", params(("id" = String, Path)), responses((status = 200, description = "It is deleted"))
)]
pub(super) async fn delete(State(producer): State<Arc<Producer>>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let id: FileId = id.parse().map_err(|_| no_such_file())?;
    if !producer.backing.store.delete_file(caller.tenant, id).await? {
        return Err(no_such_file().into());
    }
    Ok(Json(json!({ "id": id, "object": "file", "deleted": true })))
}

async fn find(producer: &Producer, caller: Caller, id: &str) -> Result<File, Failure> {
    let id: FileId = id.parse().map_err(|_| no_such_file())?;
    Ok(producer.backing.store.file(caller.tenant, id).await?.ok_or_else(no_such_file)?)
}

fn no_such_file() -> ApiError {
    ApiError::not_found("file_not_found", "there is no such file")
}
