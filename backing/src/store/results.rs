//! Results: the fenced, grouped commit by which requests end, and what assembly reads back.

use std::collections::{BTreeMap, HashMap};

use super::{transaction::Transaction, *};
use domain::{
    answer::Outcome,
    id::{TenantId, WorkerId},
    request::State,
    usage::Usage,
};
use serde::Serialize;
use uuid::Uuid;

/// A request that has ended in its worker.
#[derive(Clone, Debug)]
pub struct Ended {
    pub id: RequestId,
    pub epoch: i32,
    pub outcome: Outcome,
    /// Set if the body is over 64 KiB: it is stored under this key, and `outcome.body` is empty.
    pub key: Option<String>,
}

/// What a finish changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinishReport {
    /// Requests whose one result is this one: written now or, if the answer to an earlier call was lost, by that.
    pub won: usize,
    /// Results that came too late and changed nothing.
    pub fenced: Vec<RequestId>,
}

/// An ended line, for assembly.
#[derive(Clone, Debug)]
pub struct LineResult {
    pub line: u64,
    pub id: RequestId,
    pub custom_id: String,
    pub state: State,
    /// HTTP status and body; none for cancelled and expired lines.
    pub result: Option<(u16, Body)>,
}

impl Store {
    /// Ends requests in one transaction: state (guarded by `running`, worker and epoch), result, charge, batch counters and usage (batches in
    /// id order), `finalizing` where the last line ended, wake-ups for those who wait.
    pub async fn finish(&self, worker: WorkerId, ended: &[Ended]) -> Result<FinishReport> {
        if ended.is_empty() {
            return Ok(FinishReport::default());
        }
        transaction::repeat(|| async {
            let mut tx = self.begin().await?;
            let report = tx.finish(worker, ended).await?;
            tx.commit().await?;
            Ok(report)
        })
        .await
    }

    /// Those of the given single requests that have ended, with or without a result (or are gone): the safety net of those who wait.
    pub async fn ended_singles(&self, ids: &[RequestId]) -> Result<Vec<RequestId>> {
        let sql = "select given.id from json_to_recordset($1::json) as given(id uuid)
                left join requests r on r.id = given.id and r.state in ('queued', 'dispatched', 'running')
            where r.id is null";
        let ids = value::ids(ids.iter().map(|id| id.uuid()))?;
        self.read(sql, args![ids]).await?.iter().map(|row| row.id("id")).collect()
    }
}

/// What one transaction adds to the counters of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    expired: u64,
    usage: Usage,
}

impl Tally {
    /// Counts a line that ended; only an answer has a usage.
    pub(super) fn add(&mut self, state: State, usage: Option<Usage>) {
        match state {
            State::Succeeded => self.succeeded += 1,
            State::Failed => self.failed += 1,
            State::Cancelled => self.cancelled += 1,
            State::Expired => self.expired += 1,
            State::Queued | State::Dispatched | State::Running => {}
        }
        self.usage += usage.unwrap_or_default();
    }
}

/// A request whose result counts.
struct Winner<'a> {
    ended: &'a Ended,
    tenant: TenantId,
    batch: Option<BatchId>,
    model: String,
}

impl Winner<'_> {
    /// What is charged: answers only.
    fn charge(&self) -> Option<Usage> {
        (self.ended.outcome.state == State::Succeeded).then_some(self.ended.outcome.usage)
    }
}

impl Transaction {
    /// Ends claims of a worker; see [`Store::finish`].
    pub(super) async fn finish(&mut self, worker: WorkerId, ended: &[Ended]) -> Result<FinishReport> {
        let mut by_id: HashMap<RequestId, &Ended> = ended.iter().map(|ended| (ended.id, ended)).collect();
        let claims: Vec<(RequestId, i32)> = ended.iter().map(|ended| (ended.id, ended.epoch)).collect();
        let mut winners = Vec::with_capacity(ended.len());
        for row in self.end_claims(worker, ended).await? {
            if let Some(ended) = by_id.remove(&row.id("id")?) {
                let (tenant, batch) = (row.id("tenant_id")?, row.optional_id("batch_id")?);
                winners.push(Winner { ended, tenant, batch, model: row.get("model")? });
            }
        }
        self.insert_results(&winners).await?;
        self.insert_charges(&winners).await?;
        let mut tallies = BTreeMap::<BatchId, Tally>::new();
        for winner in &winners {
            match winner.batch {
                Some(batch) => tallies.entry(batch).or_default().add(winner.ended.outcome.state, winner.charge()),
                None => self.tell(Change::Ended(winner.ended.id)),
            }
        }
        self.count(tallies).await?;
        let mut won = winners.len();
        if !by_id.is_empty() {
            for id in self.ended_by(worker, &claims).await? {
                won += usize::from(by_id.remove(&id).is_some());
            }
        }
        Ok(FinishReport { won, fenced: by_id.into_keys().collect() })
    }

    /// Those of the claims whose result is already there.
    async fn ended_by(&mut self, worker: WorkerId, claims: &[(RequestId, i32)]) -> Result<Vec<RequestId>> {
        let sql = "select r.id from json_to_recordset($1::json) as given(id uuid, epoch integer) cross join requests r
            where r.id = given.id and r.state in ('succeeded', 'failed') and r.worker_id = $2 and r.epoch = given.epoch";
        self.rows(sql, args![value::claims(claims)?, worker]).await?.iter().map(|row| row.id("id")).collect()
    }

    async fn end_claims(&mut self, worker: WorkerId, ended: &[Ended]) -> Result<Vec<Row>> {
        #[derive(Serialize)]
        struct Given {
            id: Uuid,
            epoch: i32,
            state: &'static str,
        }
        let rows =
            value::rows(ended.iter().map(|ended| Given { id: ended.id.uuid(), epoch: ended.epoch, state: ended.outcome.state.name() }))?;
        let sql = "with won as (
                select r.id, given.state
                from json_to_recordset($1::json) as given(id uuid, epoch integer, state text) cross join requests r
                where r.id = given.id and r.state = 'running' and r.worker_id = $2 and r.epoch = given.epoch
                order by r.id for update of r)
            update requests set state = won.state, ended_at = now() from won
            where requests.id = won.id and requests.state = 'running'
            returning requests.id, requests.tenant_id, requests.batch_id, requests.model";
        self.rows(sql, args![rows, worker]).await
    }

    async fn insert_results(&mut self, winners: &[Winner<'_>]) -> Result<()> {
        #[derive(Serialize)]
        struct Given<'a> {
            id: Uuid,
            status: u16,
            body: Option<&'a str>,
            key: Option<&'a str>,
        }
        let rows = value::rows(winners.iter().map(|winner| {
            let (outcome, key) = (&winner.ended.outcome, winner.ended.key.as_deref());
            let body = key.is_none().then_some(outcome.body.as_str());
            Given { id: winner.ended.id.uuid(), status: outcome.status, body, key }
        }))?;
        let sql = "insert into results (request_id, status, body, key)
            select id, status, body, key from json_to_recordset($1::json) as given(id uuid, status integer, body text, key text)";
        self.rows(sql, args![rows]).await?;
        Ok(())
    }

    async fn insert_charges(&mut self, winners: &[Winner<'_>]) -> Result<()> {
        #[derive(Serialize)]
        struct Given<'a> {
            id: Uuid,
            tenant: Uuid,
            model: &'a str,
            #[serde(flatten)]
            usage: Usage,
        }
        let charged = winners.iter().filter_map(|winner| Some((winner, winner.charge()?)));
        let rows = value::rows(charged.map(|(winner, usage)| Given {
            id: winner.ended.id.uuid(),
            tenant: winner.tenant.uuid(),
            model: &winner.model,
            usage,
        }))?;
        let sql = "insert into charges (request_id, tenant_id, model, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens)
            select id, tenant, model, prompt, cached, completion, reasoning
            from json_to_recordset($1::json) as given(id uuid, tenant uuid, model text,
                prompt bigint, cached bigint, completion bigint, reasoning bigint)";
        self.rows(sql, args![rows]).await?;
        Ok(())
    }

    /// Adds to the counters of batches, in id order so that two transactions never wait for each other in a circle.
    pub(super) async fn count(&mut self, tallies: BTreeMap<BatchId, Tally>) -> Result<()> {
        for (batch, tally) in tallies {
            let sql = "update batches set
                    succeeded = succeeded + $2, failed = failed + $3, cancelled = cancelled + $4, expired = expired + $5,
                    prompt_tokens = prompt_tokens + $6, cached_tokens = cached_tokens + $7,
                    completion_tokens = completion_tokens + $8, reasoning_tokens = reasoning_tokens + $9
                where id = $1
                returning succeeded + failed + cancelled + expired = total as is_last";
            let Tally { succeeded, failed, cancelled, expired, usage } = tally;
            let counters =
                args![batch, succeeded, failed, cancelled, expired, usage.prompt, usage.cached, usage.completion, usage.reasoning];
            let row = self.row(sql, counters).await?.ok_or_else(|| Error::Corrupt(format!("{batch} vanished")))?;
            if row.get("is_last")? {
                // An overdue or cancelled batch is assembled from the state in which it is.
                let sql = "update batches set state = 'finalizing', finalizing_at = now()
                    where id = $1 and state = 'in_progress' and succeeded + failed = total";
                self.rows(sql, args![batch]).await?;
                self.tell(Change::Batch(batch));
            }
        }
        Ok(())
    }
}

/// Reads status, body and key of a result that may be missing.
pub(super) fn result(row: &Row) -> Result<Option<(u16, Body)>> {
    let Some(status) = row.optional::<i32>("status")? else { return Ok(None) };
    let status = u16::try_from(status).map_err(|_| Error::Corrupt(format!("`status` is {status}")))?;
    let body = match row.optional("key")? {
        Some(key) => Body::Object { key },
        None => Body::Inline(row.get("body")?),
    };
    Ok(Some((status, body)))
}
