//! Batches: creation, listing, leases, and the way to `in_progress`. How they end is in `endings.rs`.

use super::*;
use domain::{
    batch::{Batch, Counts, Stamps, State, Webhook},
    file::File,
    id::{FileId, TenantId},
    request::Endpoint,
    usage::Usage,
};
use serde_json::Value as Json;

/// What a client's create call contains.
#[derive(Clone, Debug)]
pub struct NewBatch {
    pub id: BatchId,
    pub tenant: TenantId,
    pub endpoint: Endpoint,
    pub input_file: FileId,
    pub completion_window: String,
    pub window_seconds: u64,
    pub metadata: Option<serde_json::Value>,
    pub output_seconds: Option<u64>,
    pub webhook: Option<Webhook>,
}

/// What is to be done with a batch by a process that holds its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `validating`: read the input file.
    Validate,
    /// `finalizing`, or all lines ended while `cancelling` or past the window: write the result files.
    Assemble,
}

impl Store {
    /// Creates a batch in `validating`.
    pub async fn insert_batch(&self, new: &NewBatch) -> Result<Batch> {
        let sql = "insert into batches (id, tenant_id, endpoint, input_file_id, completion_window, expires_at, metadata, output_seconds,
                webhook_url, webhook_secret, state)
            values ($1, $2, $3, $4, $5, later($6), $7::jsonb, $8, $9, $10, 'validating')
            returning *";
        let webhook = new.webhook.as_ref();
        let values = args![
            new.id,
            new.tenant,
            new.endpoint.path(),
            new.input_file,
            &new.completion_window,
            new.window_seconds,
            new.metadata.as_ref().map(Json::to_string),
            new.output_seconds,
            webhook.map(|webhook| webhook.url.as_str()),
            webhook.and_then(|webhook| webhook.secret.as_deref()),
        ];
        let mut tx = self.begin().await?;
        let row = tx.row(sql, values).await?.ok_or_else(|| Error::Corrupt("an insert returned nothing".to_owned()))?;
        tx.tell(Change::Batch(new.id));
        tx.commit().await?;
        batch(&row)
    }

    /// One batch of a tenant.
    pub async fn batch(&self, tenant: TenantId, id: BatchId) -> Result<Option<Batch>> {
        let sql = "select * from batches where tenant_id = $1 and id = $2";
        self.read_one(sql, args![tenant, id]).await?.as_ref().map(batch).transpose()
    }

    /// A page of batches, the newest first, after a cursor; `None` if the cursor is not a batch of this tenant.
    pub async fn batches(&self, tenant: TenantId, after: Option<BatchId>, limit: u32) -> Result<Option<Page<Batch>>> {
        if let Some(after) = after {
            let sql = "select id from batches where tenant_id = $1 and id = $2";
            if self.read_one(sql, args![tenant, after]).await?.is_none() {
                return Ok(None);
            }
        }
        let after = after.map_or(uuid::Uuid::max(), BatchId::uuid);
        let sql = "select * from batches where tenant_id = $1 and id < $2 order by id desc limit $3";
        let rows = self.read(sql, args![tenant, after, u64::from(limit) + 1]).await?;
        Ok(Some(Page::of(rows.iter().map(batch).collect::<Result<_>>()?, limit)))
    }

    /// Turns `validating` or `in_progress` into `cancelling` and returns the batch as it is then; the caller judges its state.
    /// Each call sends the signal to the workers anew.
    pub async fn cancel_batch(&self, tenant: TenantId, id: BatchId) -> Result<Option<Batch>> {
        // The new term takes the batch away from whoever validates or assembles it.
        let sql = "update batches set state = 'cancelling', cancelling_at = now(), lease_term = lease_term + 1, lease_until = null
            where tenant_id = $1 and id = $2 and state in ('validating', 'in_progress')
            returning *";
        let mut tx = self.begin().await?;
        let found = match tx.row(sql, args![tenant, id]).await? {
            Some(row) => Some(row),
            None => tx.row("select * from batches where tenant_id = $1 and id = $2", args![tenant, id]).await?,
        };
        let found = found.as_ref().map(batch).transpose()?;
        if found.as_ref().is_some_and(|batch| batch.state == State::Cancelling) {
            tx.tell(Change::Batch(id));
        }
        tx.commit().await?;
        Ok(found)
    }

    /// Leases the oldest batch that waits for a phase and that nobody holds, with its input file (even if deleted meanwhile).
    pub async fn take_batch(&self, phase: Phase, seconds: f64) -> Result<Option<(Batch, File, Term)>> {
        let sql = match phase {
            Phase::Validate => {
                "with next as (
                    select id from batches
                    where state = 'validating' and (lease_until is null or lease_until <= now())
                    order by id limit 1 for update skip locked)
                update batches set lease_term = lease_term + 1, lease_until = later($1) where id in (select id from next)
                returning *"
            }
            Phase::Assemble => {
                "with next as (
                    select id from batches
                    where state in ('in_progress', 'finalizing', 'cancelling')
                        and (state = 'finalizing'
                            or succeeded + failed + cancelled + expired = total and (state = 'cancelling' or expires_at <= now()))
                        and (lease_until is null or lease_until <= now())
                    order by id limit 1 for update skip locked)
                update batches set lease_term = lease_term + 1, lease_until = later($1) where id in (select id from next)
                returning *"
            }
        };
        let mut tx = self.begin().await?;
        let Some(row) = tx.row(sql, args![seconds]).await? else {
            return tx.commit().await.map(|()| None);
        };
        let batch = batch(&row)?;
        let file = tx.row("select * from files where id = $1", args![batch.input_file]).await?;
        let file = file.ok_or_else(|| Error::Corrupt(format!("{} lost its input file", batch.id)))?;
        tx.commit().await?;
        Ok(Some((batch, files::file(&file)?, Term(row.get("lease_term")?))))
    }

    /// Extends a lease. False if it is not held any more: stop working on the batch.
    pub async fn keep_batch(&self, id: BatchId, term: Term, seconds: f64) -> Result<bool> {
        let sql = "update batches set lease_until = later($3)
            where id = $1 and lease_term = $2 and state in ('validating', 'in_progress', 'finalizing', 'cancelling')
            returning id";
        Ok(!self.write(sql, args![id, term.0, seconds]).await?.is_empty())
    }

    /// `validating → in_progress`: all lines are inserted and may be dispatched. False if the batch was cancelled or the lease lost.
    pub async fn start_batch(&self, id: BatchId, term: Term, total: u64, model: Option<&str>) -> Result<bool> {
        let sql = "update batches set state = 'in_progress', in_progress_at = now(), total = $3, model = $4, lease_until = null
            where id = $1 and lease_term = $2 and state = 'validating'
            returning id";
        let mut tx = self.begin().await?;
        let started = tx.row(sql, args![id, term.0, total, model]).await?.is_some();
        if started {
            tx.tell(Change::Batch(id));
            tx.tell(Change::Queued);
        }
        tx.commit().await?;
        Ok(started)
    }
}

/// Reads a row of the table.
pub(super) fn batch(row: &Row) -> Result<Batch> {
    let errors = row.optional::<Json>("errors")?.map(serde_json::from_value).transpose();
    let webhook = row.optional("webhook_url")?.map(|url| Ok::<_, Error>(Webhook { url, secret: row.optional("webhook_secret")? }));
    Ok(Batch {
        id: row.id("id")?,
        tenant: row.id("tenant_id")?,
        endpoint: row.named("endpoint", Endpoint::from_path)?,
        input_file: row.id("input_file_id")?,
        completion_window: row.get("completion_window")?,
        metadata: row.optional("metadata")?,
        state: row.named("state", State::from_name)?,
        model: row.optional("model")?,
        counts: counts(row)?,
        usage: usage(row)?,
        errors: errors.map_err(|error| Error::Corrupt(format!("`errors`: {error}")))?.unwrap_or_default(),
        output_file: row.optional_id("output_file_id")?,
        error_file: row.optional_id("error_file_id")?,
        output_seconds: row.optional::<i64>("output_seconds")?.map(i64::unsigned_abs),
        webhook: webhook.transpose()?,
        stamps: stamps(row)?,
    })
}

fn counts(row: &Row) -> Result<Counts> {
    Ok(Counts {
        total: row.count("total")?,
        succeeded: row.count("succeeded")?,
        failed: row.count("failed")?,
        cancelled: row.count("cancelled")?,
        expired: row.count("expired")?,
    })
}

fn usage(row: &Row) -> Result<Usage> {
    Ok(Usage {
        prompt: row.count("prompt_tokens")?,
        cached: row.count("cached_tokens")?,
        completion: row.count("completion_tokens")?,
        reasoning: row.count("reasoning_tokens")?,
    })
}

fn stamps(row: &Row) -> Result<Stamps> {
    Ok(Stamps {
        created: row.time("created_at")?,
        expires: row.time("expires_at")?,
        in_progress: row.optional_time("in_progress_at")?,
        finalizing: row.optional_time("finalizing_at")?,
        completed: row.optional_time("completed_at")?,
        failed: row.optional_time("failed_at")?,
        expired: row.optional_time("expired_at")?,
        cancelling: row.optional_time("cancelling_at")?,
        cancelled: row.optional_time("cancelled_at")?,
    })
}
