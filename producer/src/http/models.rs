//! Models: those that were ever registered, whether or not a worker serves them now.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use domain::error::ApiError;
use serde_json::{Value, json};

use super::auth::Caller;
use crate::{Failure, Producer};

/// Lists the models.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, description = "All models")))]
pub(super) async fn list(State(producer): State<Arc<Producer>>, _: Caller) -> Result<Json<Value>, Failure> {
    let models = producer.backing.store.models().await?;
    let data: Vec<Value> = models.iter().map(|(model, ready)| model.to_json(*ready)).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// Shows a model. Its name may have slashes, encoded or not.
#[utoipa::path(
    get, path = "/v1/models/{name}", tag = "models", params(("name" = String, Path)), responses((status = 200, description = "The model"))
)]
pub(super) async fn show(State(producer): State<Arc<Producer>>, _: Caller, Path(name): Path<String>) -> Result<Json<Value>, Failure> {
    let models = producer.backing.store.models().await?;
    let (model, ready) = models
        .iter()
        .find(|(model, _)| model.name == name)
        .ok_or_else(|| ApiError::not_found("model_not_found", "there is no such model").param("model"))?;
    Ok(Json(model.to_json(*ready)))
}
