//! Dispatch: what may enter the queue next, what has entered it, and what comes back from it unanswered.

use std::collections::HashMap;

use super::*;
use domain::{
    fairness::{Charge, Choice, Claimant},
    id::TenantId,
    request::Lane,
};
use serde::Serialize;
use uuid::Uuid;

/// Tenants that one choice looks at, the least served first.
const CLAIMANTS_MAX: usize = 256;

/// Which dispatched requests go back to `queued`.
#[derive(Clone, Debug)]
pub enum Undelivered {
    /// These were not confirmed by the broker.
    These(Vec<RequestId>),
    /// The queue of this model and lane was found missing, wedged or newly declared.
    Lane { model: String, lane: Lane },
    /// Nobody answered the doorbell for this many seconds.
    Unanswered { seconds: f64 },
}

impl Store {
    /// The (model, lane) pairs with queued work and a live worker: room is `2 × Σ slots` of those workers less what is dispatched.
    pub async fn dispatchable(&self) -> Result<Vec<(String, Lane, usize)>> {
        // Scalar subqueries with a limit, because a planner may turn `exists` into a join over the whole backlog.
        let sql = "select w.model, w.slots,
                (select count(*) from requests r
                    where r.model = w.model and r.state = 'dispatched' and r.batch_id is null) as singles_out,
                (select count(*) from requests r
                    where r.model = w.model and r.state = 'dispatched' and r.batch_id is not null) as lines_out,
                (select 1 from requests r
                    where r.model = w.model and r.state = 'queued' and r.batch_id is null limit 1) is not null as singles_wait,
                (select 1 from batches b
                    where b.state = 'in_progress' and b.expires_at > now() and (select 1 from requests r
                        where r.batch_id = b.id and r.model = w.model and r.state = 'queued' limit 1) is not null
                    limit 1) is not null as lines_wait
            from (select model, sum(slots)::bigint as slots from workers
                where model is not null and lease_until > now() group by model) as w
            order by w.model";
        let mut found = Vec::new();
        for row in self.read(sql, args![]).await? {
            let model: String = row.get("model")?;
            let window = 2 * row.count("slots")?;
            for (lane, wait, out) in [(Lane::Interactive, "singles_wait", "singles_out"), (Lane::Batch, "lines_wait", "lines_out")] {
                let room = window.saturating_sub(row.count(out)?);
                if row.get(wait)? && room > 0 {
                    found.push((model.clone(), lane, room as usize));
                }
            }
        }
        Ok(found)
    }

    /// The tenants with queued work for a model and lane (at most 256, the least served first), each with its `room` most urgent
    /// requests: earliest deadline first, lines of a batch in file order so that neighbours stay together.
    pub async fn claimants(&self, model: &str, lane: Lane, room: usize) -> Result<Vec<Claimant>> {
        match lane {
            Lane::Interactive => self.claimants_of_singles(model, room).await,
            Lane::Batch => self.claimants_of_lines(model, room).await,
        }
    }

    async fn claimants_of_singles(&self, model: &str, room: usize) -> Result<Vec<Claimant>> {
        // Steps from tenant to tenant along the index instead of reading the backlog.
        let sql = "with recursive waiting (tenant_id) as (
                select (select r.tenant_id from requests r
                    where r.model = $1 and r.state = 'queued' and r.batch_id is null
                    order by r.tenant_id limit 1)
                union all
                select (select r.tenant_id from requests r
                    where r.model = $1 and r.state = 'queued' and r.batch_id is null and r.tenant_id > waiting.tenant_id
                    order by r.tenant_id limit 1)
                from waiting where waiting.tenant_id is not null)
            select t.id as tenant_id, t.served, t.weight from waiting join tenants t on t.id = waiting.tenant_id
            order by t.served, t.id limit $2";
        let mut claimants = Vec::new();
        for row in self.read(sql, args![model, CLAIMANTS_MAX]).await? {
            let mut claimant = claimant(&row)?;
            let sql = "select id, cost from requests
                where model = $1 and tenant_id = $2 and state = 'queued' and batch_id is null
                order by deadline, id limit $3";
            let most_urgent = self.read(sql, args![model, claimant.tenant, room]).await?;
            claimant.runnable = most_urgent.iter().map(runnable).collect::<Result<_>>()?;
            claimants.push(claimant);
        }
        claimants.retain(|claimant| !claimant.runnable.is_empty());
        Ok(claimants)
    }

    async fn claimants_of_lines(&self, model: &str, room: usize) -> Result<Vec<Claimant>> {
        let sql = "select b.id, b.tenant_id, t.served, t.weight from batches b join tenants t on t.id = b.tenant_id
            where b.state = 'in_progress' and b.expires_at > now() and (select 1 from requests r
                where r.batch_id = b.id and r.model = $1 and r.state = 'queued' limit 1) is not null
            order by t.served, t.id, b.expires_at, b.id";
        let mut claimants = Vec::<Claimant>::new();
        for row in self.read(sql, args![model]).await? {
            let tenant: TenantId = row.id("tenant_id")?;
            if claimants.last().is_none_or(|last| last.tenant != tenant) {
                if claimants.len() == CLAIMANTS_MAX {
                    break;
                }
                claimants.push(claimant(&row)?);
            }
            let Some(claimant) = claimants.last_mut() else { break };
            let missing = room - claimant.runnable.len();
            if missing == 0 {
                continue;
            }
            let sql = "select id, cost from requests
                where batch_id = $1 and model = $2 and state = 'queued'
                order by line, id limit $3";
            for row in self.read(sql, args![row.id::<BatchId>("id")?, model, missing]).await? {
                claimant.runnable.push(runnable(&row)?);
            }
        }
        claimants.retain(|claimant| !claimant.runnable.is_empty());
        Ok(claimants)
    }

    /// `queued → dispatched` and the tenants' counters in one transaction, fenced by the dispatcher's term. Returns what was
    /// really marked, in the order of the choice, with trace parents.
    pub async fn mark_dispatched(&self, choice: &Choice, term: Term) -> Result<Vec<(RequestId, Option<String>)>> {
        transaction::repeat(|| self.mark_once(choice, term)).await
    }

    async fn mark_once(&self, choice: &Choice, term: Term) -> Result<Vec<(RequestId, Option<String>)>> {
        #[derive(Serialize)]
        struct Given {
            id: Uuid,
            start: f64,
            tokens: f64,
        }
        let mut tx = self.begin().await?;
        if !tx.leads(DISPATCHER, term).await? {
            return tx.commit().await.map(|()| Vec::new());
        }
        let sql = "with chosen as (
                select id from requests
                where id in (select id from json_to_recordset($1::json) as given(id uuid)) and state = 'queued'
                order by id for update)
            update requests set state = 'dispatched', dispatched_at = now()
            where id in (select id from chosen) and state = 'queued'
            returning id, traceparent";
        let marked = tx.rows(sql, args![value::ids(choice.requests.iter().map(|id| id.uuid()))?]).await?;
        let sql = "update tenants set served = case when served > given.start then served else given.start end + given.tokens
            from json_to_recordset($1::json) as given(id uuid, start double precision, tokens double precision)
            where tenants.id = given.id";
        let charges = choice.charges.iter().map(|&Charge { tenant, start, tokens }| Given { id: tenant.uuid(), start, tokens });
        tx.rows(sql, args![value::rows(charges)?]).await?;
        tx.commit().await?;
        let mut marked: HashMap<RequestId, Option<String>> =
            marked.iter().map(|row| Ok((row.id("id")?, row.optional("traceparent")?))).collect::<Result<_>>()?;
        Ok(choice.requests.iter().filter_map(|id| Some((*id, marked.remove(id)?))).collect())
    }

    /// `dispatched → queued`; returns how many.
    pub async fn return_dispatched(&self, which: &Undelivered) -> Result<u64> {
        // What a worker is claiming right now was delivered after all.
        let (sql, values) = match which {
            Undelivered::These(ids) => (
                "with lost as (
                    select id from requests
                    where id in (select id from json_to_recordset($1::json) as given(id uuid)) and state = 'dispatched'
                    order by id for update skip locked)
                update requests set state = 'queued', dispatched_at = null
                where id in (select id from lost) and state = 'dispatched'
                returning id",
                args![value::ids(ids.iter().map(|id| id.uuid()))?],
            ),
            Undelivered::Lane { model, lane } => (
                "with lost as (
                    select id from requests
                    where model = $1 and state = 'dispatched' and (batch_id is null) = $2
                    order by id for update skip locked)
                update requests set state = 'queued', dispatched_at = null
                where id in (select id from lost) and state = 'dispatched'
                returning id",
                args![model, *lane == Lane::Interactive],
            ),
            Undelivered::Unanswered { seconds } => (
                "with lost as (
                    select id from requests
                    where state = 'dispatched' and dispatched_at <= later(-$1::float8)
                    order by id for update skip locked)
                update requests set state = 'queued', dispatched_at = null
                where id in (select id from lost) and state = 'dispatched'
                returning id",
                args![*seconds],
            ),
        };
        let mut tx = self.begin().await?;
        let returned = tx.rows(sql, values).await?.len();
        if returned > 0 {
            tx.tell(Change::Queued);
        }
        tx.commit().await?;
        Ok(returned as u64)
    }
}

fn claimant(row: &Row) -> Result<Claimant> {
    Ok(Claimant { tenant: row.id("tenant_id")?, served: row.get("served")?, weight: row.get("weight")?, runnable: Vec::new() })
}

fn runnable(row: &Row) -> Result<(RequestId, u64)> {
    Ok((row.id("id")?, row.count("cost")?))
}
