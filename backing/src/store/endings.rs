//! How batches end: rejected, overdue, cancelled or completed, each with its event.

use std::collections::BTreeMap;

use super::{results::Tally, transaction::Transaction, *};
use domain::{
    batch::{Batch, BatchError, Event, State},
    event,
    file::File,
    id::{DeliveryId, EventId},
    request,
};

impl Store {
    /// `validating → failed`, with the event; lines inserted so far are pruned later.
    pub async fn reject_batch(&self, id: BatchId, term: Term, errors: &[BatchError]) -> Result<bool> {
        let sql = "update batches set state = 'failed', failed_at = now(), errors = $3::jsonb, lease_until = null
            where id = $1 and lease_term = $2 and state = 'validating'
            returning *";
        let errors = serde_json::to_string(errors).map_err(|error| Error::Corrupt(error.to_string()))?;
        let mut tx = self.begin().await?;
        let Some(row) = tx.row(sql, args![id, term.0, errors]).await? else {
            return tx.commit().await.map(|()| false);
        };
        tx.insert_event(&batches::batch(&row)?).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Ends up to `limit` unfinished lines of cancelled and overdue batches and returns how many. Running ones are ended
    /// too: their late results are fenced, their workers are told by [`Store::lost_claims`]. Also ends overdue single requests.
    pub async fn end_unfinished(&self, limit: u32) -> Result<u64> {
        let lines = transaction::repeat(|| self.end_lines(limit)).await?;
        let singles = self.end_singles(limit).await?;
        Ok(lines + singles)
    }

    async fn end_lines(&self, limit: u32) -> Result<u64> {
        // What somebody is changing right now is left for the next round.
        let sql = "with overdue as (
                select r.id, case when b.state = 'cancelling' then 'cancelled' else 'expired' end as state
                from batches b join requests r on r.batch_id = b.id
                where b.state in ('in_progress', 'cancelling') and b.in_progress_at is not null
                    and (b.state = 'cancelling' or b.expires_at <= now())
                    and r.state in ('queued', 'dispatched', 'running')
                limit $1 for update of r skip locked)
            update requests set state = overdue.state, ended_at = now() from overdue
            where requests.id = overdue.id and requests.state in ('queued', 'dispatched', 'running')
            returning requests.batch_id, requests.state";
        let mut tx = self.begin().await?;
        let ended = tx.rows(sql, args![limit]).await?;
        let mut tallies = BTreeMap::<BatchId, Tally>::new();
        for row in &ended {
            tallies.entry(row.id("batch_id")?).or_default().add(row.named("state", request::State::from_name)?, None);
        }
        for batch in tallies.keys() {
            // Workers that run some of these lines should stop.
            tx.tell(Change::Batch(*batch));
        }
        tx.count(tallies).await?;
        tx.commit().await?;
        Ok(ended.len() as u64)
    }

    async fn end_singles(&self, limit: u32) -> Result<u64> {
        let sql = "with overdue as (
                select id from requests
                where batch_id is null and state in ('queued', 'dispatched', 'running') and deadline <= now()
                order by deadline limit $1 for update skip locked)
            update requests set state = 'expired', ended_at = now()
            where id in (select id from overdue) and state in ('queued', 'dispatched', 'running')
            returning id";
        let mut tx = self.begin().await?;
        let ended = tx.rows(sql, args![limit]).await?;
        for row in &ended {
            tx.tell(Change::Ended(row.id("id")?));
        }
        tx.commit().await?;
        Ok(ended.len() as u64)
    }

    /// Writes the terminal state that follows from the batch's state (`completed`, `expired` or `cancelled`), its files and its event.
    pub async fn complete_batch(&self, id: BatchId, term: Term, output: Option<&File>, errors: Option<&File>) -> Result<bool> {
        let mut tx = self.begin().await?;
        let sql = "select * from batches
            where id = $1 and lease_term = $2 and succeeded + failed + cancelled + expired = total
            for update";
        let Some(row) = tx.row(sql, args![id, term.0]).await? else {
            return tx.commit().await.map(|()| false);
        };
        let state = batches::batch(&row)?.state;
        let Some(terminal) = state.next(Event::Assembled) else {
            return tx.commit().await.map(|()| false);
        };
        for file in [output, errors].into_iter().flatten() {
            tx.insert_file(file).await?;
        }
        let sql = "update batches set state = $3, output_file_id = $4, error_file_id = $5, lease_until = null,
                completed_at = case when $3 = 'completed' then now() else completed_at end,
                expired_at = case when $3 = 'expired' then now() else expired_at end,
                cancelled_at = case when $3 = 'cancelled' then now() else cancelled_at end
            where id = $1 and state = $2
            returning *";
        let files = (output.map(|file| file.id), errors.map(|file| file.id));
        if let Some(row) = tx.row(sql, args![id, state.name(), terminal.name(), files.0, files.1]).await? {
            tx.insert_event(&batches::batch(&row)?).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

impl Transaction {
    /// Writes the event of a batch's terminal state, once, and the delivery to its webhook if it has one.
    async fn insert_event(&mut self, batch: &Batch) -> Result<()> {
        let (id, kind) = (EventId::new(), event::kind_of(batch.state).unwrap_or_default());
        let stamps = batch.stamps;
        let at = match batch.state {
            State::Completed => stamps.completed,
            State::Failed => stamps.failed,
            State::Expired => stamps.expired,
            _ => stamps.cancelled,
        };
        let payload = event::payload(id, kind, at.unwrap_or(stamps.created), batch);
        let sql = "insert into events (id, tenant_id, kind, object_id, payload) values ($1, $2, $3, $4, $5)
            on conflict (object_id, kind) do nothing returning id";
        let is_new = self.row(sql, args![id, batch.tenant, kind, batch.id, payload]).await?.is_some();
        self.tell(Change::Batch(batch.id));
        if let (Some(webhook), true) = (&batch.webhook, is_new) {
            let sql = "insert into deliveries (id, event_id, url, secret) values ($1, $2, $3, $4)";
            self.rows(sql, args![DeliveryId::new(), id, &webhook.url, webhook.secret.as_deref()]).await?;
            self.tell(Change::Event);
        }
        Ok(())
    }
}
