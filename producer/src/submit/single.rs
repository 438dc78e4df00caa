//! Accepting a single request: is its model known, what will it cost, where does its body go, and then one commit.

use backing::store::{Body, NewSingle};
use bytes::Bytes;
use domain::{
    error::ApiError,
    id::{RequestId, TenantId},
    limits::INLINE_BYTES_MAX,
    model::Model,
    request::{Endpoint, Request},
    trace::TraceParent,
};

use crate::{Failure, Producer};

/// A parsed call, on its way into the backlog.
pub(crate) struct Single {
    pub(crate) id: RequestId,
    pub(crate) tenant: TenantId,
    pub(crate) trace: TraceParent,
    pub(crate) request: Request,
    pub(crate) model: Model,
    /// The exact text, for the worker.
    pub(crate) body: Bytes,
    pub(crate) deadline_seconds: u64,
}

impl Producer {
    /// A model that was ever registered. It need not be up: work for it waits.
    pub(crate) async fn known_model(&self, name: &str) -> Result<Model, Failure> {
        if let Some(model) = self.models.recall(name) {
            return Ok(model);
        }
        let model = self.backing.store.model(name).await?.ok_or_else(|| {
            ApiError::not_found("model_not_found", "there is no such model; GET /v1/models lists those there are").param("model")
        })?;
        self.models.keep(name.to_owned(), model.clone());
        Ok(model)
    }

    /// Accepts a single request. Once this returns, no crash can lose it.
    pub(crate) async fn submit(&self, single: &Single) -> Result<(), Failure> {
        let request = &single.request;
        let new = NewSingle {
            id: single.id,
            tenant: single.tenant,
            endpoint: request.endpoint,
            cost: single.model.estimate(single.body.len(), &request.generation),
            model: single.model.name.clone(),
            body: self.place(single).await?,
            deadline_seconds: single.deadline_seconds,
            traceparent: Some(single.trace.child().to_string()),
        };
        self.backing.store.insert_single(&new).await?;
        count_accepted(request.endpoint);
        tracing::info!(request = %single.id, tenant = %single.tenant, "request accepted");
        Ok(())
    }

    /// A small body stands in the store, a large one is an object, stored before the row that names it.
    async fn place(&self, single: &Single) -> Result<Body, Failure> {
        if single.body.len() > INLINE_BYTES_MAX {
            let key = format!("{}/bodies/{}", single.tenant, single.id);
            self.backing.objects.put(&key, single.body.clone()).await?;
            return Ok(Body::Object { key });
        }
        match std::str::from_utf8(&single.body) {
            Ok(text) => Ok(Body::Inline(text.to_owned())),
            Err(_) => Err(ApiError::invalid("invalid_json", "the body is not UTF-8").into()),
        }
    }
}

fn count_accepted(endpoint: Endpoint) {
    metrics::counter!("millrace_requests_accepted_total", "endpoint" => endpoint.path()).increment(1);
}
