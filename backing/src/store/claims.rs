//! Claims: which worker runs a request, under which epoch, and how a claim is given back.

use std::collections::HashMap;

use super::*;
use domain::{
    answer::Outcome,
    error::ApiError,
    id::{TenantId, WorkerId},
    limits::ATTEMPTS_MAX,
    request::Endpoint,
};
use uuid::Uuid;

/// A request that a worker now owns, under this epoch.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub id: RequestId,
    pub epoch: i32,
    pub tenant: TenantId,
    pub batch: Option<BatchId>,
    pub endpoint: Endpoint,
    pub model: String,
    pub body: Body,
    /// Claims so far that were not given back, this one included.
    pub attempts: u32,
    pub traceparent: Option<String>,
}

impl Store {
    /// `dispatched → running` under a new epoch, for those of `ids` that are dispatched. Claims nothing for a worker whose lease has
    /// ended. Requests whose attempts are used up are failed here instead of claimed.
    pub async fn claim(&self, worker: WorkerId, ids: &[RequestId]) -> Result<Vec<Claimed>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        transaction::repeat(|| self.claim_once(worker, ids)).await
    }

    async fn claim_once(&self, worker: WorkerId, ids: &[RequestId]) -> Result<Vec<Claimed>> {
        let mut tx = self.begin().await?;
        let alive = "select id from workers where id = $1 and lease_until > now() for key share";
        if tx.row(alive, args![worker]).await?.is_none() {
            return tx.commit().await.map(|()| Vec::new());
        }
        let sql = "with mine as (
                select id from requests
                where id in (select id from json_to_recordset($1::json) as given(id uuid)) and state = 'dispatched'
                order by id for update)
            update requests set state = 'running', worker_id = $2, epoch = epoch + 1, attempts = attempts + 1
            where id in (select id from mine) and state = 'dispatched'
            returning id";
        let wanted = value::ids(ids.iter().map(|id| id.uuid()))?;
        let mine = tx.rows(sql, args![wanted, worker]).await?;
        let mine = mine.iter().map(|row| row.get("id")).collect::<Result<Vec<Uuid>>>()?;
        if !mine.is_empty() {
            // The window has room again.
            tx.tell(Change::Queued);
        }
        let sql = "select r.id, r.epoch, r.tenant_id, r.batch_id, r.endpoint, r.model, r.attempts, r.traceparent,
                r.body_offset, r.body_bytes, body.body, body.key, f.key as file_key
            from json_to_recordset($1::json) as given(id uuid) cross join requests r
                left join request_bodies body on body.request_id = r.id
                left join batches b on b.id = r.batch_id
                left join files f on f.id = b.input_file_id
            where r.id = given.id";
        let rows = tx.rows(sql, args![value::ids(mine)?]).await?;
        let claimed = rows.iter().map(claimed).collect::<Result<Vec<Claimed>>>()?;
        let (worn_out, mut claimed): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|claim| claim.attempts > ATTEMPTS_MAX);
        if !worn_out.is_empty() {
            tx.finish(worker, &worn_out.iter().map(give_up).collect::<Vec<_>>()).await?;
        }
        tx.commit().await?;
        let place: HashMap<RequestId, usize> = ids.iter().enumerate().map(|(place, &id)| (id, place)).collect();
        claimed.sort_by_key(|claim| place.get(&claim.id).copied());
        Ok(claimed)
    }

    /// Gives claims back to `queued` without counting the attempt (drain).
    pub async fn release(&self, worker: WorkerId, claims: &[(RequestId, i32)]) -> Result<u64> {
        transaction::repeat(|| async {
            let sql = "with mine as (
                    select r.id from json_to_recordset($1::json) as given(id uuid, epoch integer) cross join requests r
                    where r.id = given.id and r.state = 'running' and r.worker_id = $2 and r.epoch = given.epoch
                    order by r.id for update of r)
                update requests set state = 'queued', attempts = attempts - 1, worker_id = null, dispatched_at = null
                where id in (select id from mine) and state = 'running'
                returning id";
            let mut tx = self.begin().await?;
            let released = tx.rows(sql, args![value::claims(claims)?, worker]).await?.len();
            if released > 0 {
                tx.tell(Change::Queued);
            }
            tx.commit().await?;
            Ok(released as u64)
        })
        .await
    }

    /// Gives every claim back without counting the attempt and forgets all workers: for a process that has the database to itself,
    /// and so knows that they are dead. Whoever kills his own run three times has not tried any request three times.
    pub async fn release_all(&self) -> Result<u64> {
        transaction::repeat(|| async {
            let mut tx = self.begin().await?;
            tx.rows("delete from workers returning id", args![]).await?;
            let sql = "update requests set state = 'queued', attempts = attempts - 1, worker_id = null, dispatched_at = null
                where state = 'running' returning id";
            let released = tx.rows(sql, args![]).await?.len();
            tx.commit().await?;
            Ok(released as u64)
        })
        .await
    }

    /// Those of the held claims that are not this worker's any more (cancelled, expired, swept): stop computing them.
    pub async fn lost_claims(&self, worker: WorkerId, held: &[(RequestId, i32)]) -> Result<Vec<RequestId>> {
        let sql = "select given.id from json_to_recordset($1::json) as given(id uuid, epoch integer)
                left join requests r on r.id = given.id and r.epoch = given.epoch and r.state = 'running' and r.worker_id = $2
            where r.id is null";
        self.read(sql, args![value::claims(held)?, worker]).await?.iter().map(|row| row.id("id")).collect()
    }
}

/// What the owner of a request reads that took every worker down with it, or happened to be beside one that did.
fn give_up(claim: &Claimed) -> Ended {
    let message = format!("the request was started {ATTEMPTS_MAX} times and its worker was lost each time");
    let error = ApiError::new(500, "server_error", "attempts_exhausted", message);
    Ended { id: claim.id, epoch: claim.epoch, outcome: Outcome::refused(&error), key: None }
}

fn claimed(row: &Row) -> Result<Claimed> {
    Ok(Claimed {
        id: row.id("id")?,
        epoch: row.get("epoch")?,
        tenant: row.id("tenant_id")?,
        batch: row.optional_id("batch_id")?,
        endpoint: row.named("endpoint", Endpoint::from_path)?,
        model: row.get("model")?,
        body: body(row)?,
        attempts: row.small_count("attempts")?,
        traceparent: row.optional("traceparent")?,
    })
}

fn body(row: &Row) -> Result<Body> {
    if let Some(key) = row.optional("file_key")? {
        return Ok(Body::Range { key, offset: row.count("body_offset")?, bytes: row.small_count("body_bytes")? });
    }
    match row.optional("key")? {
        Some(key) => Ok(Body::Object { key }),
        None => Ok(Body::Inline(row.get("body")?)),
    }
}
