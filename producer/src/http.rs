//! HTTP: every route on one screen. What all calls have in common (id, trace, error envelope) is in `call`.

mod connections;

mod auth;
mod body;
mod call;
mod error;

mod files;
mod paging;

mod batches;

mod completions;
mod keep_alive;
mod prefer;
mod requests;

mod models;

mod health;
mod openapi;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn,
    routing::{get, post},
};
use backing::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::Producer;

/// Serves all routes until the shutdown.
pub(crate) async fn serve(listener: TcpListener, producer: Arc<Producer>, shutdown: &Shutdown) {
    connections::serve(listener, router(producer.clone()), &producer.settings, shutdown).await;
}

fn router(producer: Arc<Producer>) -> Router {
    // DeepSeek-style base URLs have no `/v1`.
    let generation = Router::new()
        .route("/chat/completions", post(completions::chat))
        .route("/chat/completions/{id}", get(requests::show))
        .route("/completions", post(completions::text))
        .route("/models", get(models::list))
        .route("/models/{*name}", get(models::show));
    let v1 = Router::new()
        .route("/files", post(files::upload).get(files::list))
        .route("/files/{id}", get(files::show).delete(files::delete))
        .route("/files/{id}/content", get(files::content))
        .route("/batches", post(batches::create).get(batches::list))
        .route("/batches/{id}", get(batches::show))
        .route("/batches/{id}/cancel", post(batches::cancel))
        .route("/requests/{id}", get(requests::show))
        .merge(generation.clone());
    Router::new()
        .nest("/v1", v1)
        .merge(generation)
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page))
        // Each reader of a body has a bound of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(call::answer))
        .with_state(producer)
}
