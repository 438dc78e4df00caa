//! Single requests and what a request is. How requests travel is in `dispatch.rs` and `claims.rs`, how they end in `results.rs`.

use super::*;
use domain::{
    id::TenantId,
    request::{Endpoint, State},
};

/// Where the body of a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Inline(String),
    Object {
        key: String,
    },
    /// A part of an input file.
    Range {
        key: String,
        offset: u64,
        bytes: u32,
    },
}

/// A single request as it is accepted.
#[derive(Clone, Debug)]
pub struct NewSingle {
    pub id: RequestId,
    pub tenant: TenantId,
    pub endpoint: Endpoint,
    pub model: String,
    pub cost: u64,
    /// Inline or an object.
    pub body: Body,
    pub deadline_seconds: u64,
    pub traceparent: Option<String>,
}

/// A single request as its owner sees it.
#[derive(Clone, Debug)]
pub struct SingleView {
    pub id: RequestId,
    pub endpoint: Endpoint,
    pub model: String,
    pub state: State,
    pub created_at: i64,
    /// Status and body location, once the request has ended with a result.
    pub result: Option<(u16, Body)>,
}

impl Store {
    /// Accepts a single request (lane `interactive`).
    pub async fn insert_single(&self, new: &NewSingle) -> Result<()> {
        let (body, key) = match &new.body {
            Body::Inline(body) => (Some(body.as_str()), None),
            Body::Object { key } | Body::Range { key, .. } => (None, Some(key.as_str())),
        };
        let mut tx = self.begin().await?;
        let sql = "insert into requests (id, tenant_id, endpoint, model, cost, traceparent, state, deadline)
            values ($1, $2, $3, $4, $5, $6, 'queued', later($7))";
        let traceparent = new.traceparent.as_deref();
        let values = args![new.id, new.tenant, new.endpoint.path(), &new.model, new.cost, traceparent, new.deadline_seconds];
        tx.rows(sql, values).await?;
        tx.rows("insert into request_bodies (request_id, body, key) values ($1, $2, $3)", args![new.id, body, key]).await?;
        tx.tell(Change::Queued);
        tx.commit().await
    }

    /// A single request of a tenant.
    pub async fn single(&self, tenant: TenantId, id: RequestId) -> Result<Option<SingleView>> {
        let sql = "select r.id, r.endpoint, r.model, r.state, r.created_at, s.status, s.body, s.key
            from requests r left join results s on s.request_id = r.id
            where r.id = $1 and r.tenant_id = $2 and r.batch_id is null";
        self.read_one(sql, args![id, tenant]).await?.as_ref().map(single).transpose()
    }

    /// Cancels a single request unless it has ended. True if it was cancelled by this call.
    pub async fn cancel_single(&self, tenant: TenantId, id: RequestId) -> Result<bool> {
        let sql = "update requests set state = 'cancelled', ended_at = now()
            where id = $1 and tenant_id = $2 and batch_id is null and state in ('queued', 'dispatched', 'running')
            returning id";
        let mut tx = self.begin().await?;
        let cancelled = tx.row(sql, args![id, tenant]).await?.is_some();
        if cancelled {
            tx.tell(Change::Ended(id));
        }
        tx.commit().await?;
        Ok(cancelled)
    }
}

fn single(row: &Row) -> Result<SingleView> {
    Ok(SingleView {
        id: row.id("id")?,
        endpoint: row.named("endpoint", Endpoint::from_path)?,
        model: row.get("model")?,
        state: row.named("state", State::from_name)?,
        created_at: row.time("created_at")?,
        result: results::result(row)?,
    })
}
