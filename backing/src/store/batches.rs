//! Batches: creation, listing, and every change of state. Each update is guarded by the state and the lease term it leaves.

use super::*;
use domain::{
    batch::{Batch, BatchError, Webhook},
    file::File,
    id::{FileId, TenantId},
    request::Endpoint,
};

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
        todo!("{new:?}")
    }

    /// One batch of a tenant.
    pub async fn batch(&self, tenant: TenantId, id: BatchId) -> Result<Option<Batch>> {
        todo!("{tenant} {id}")
    }

    /// A page of batches, the newest first, after a cursor; `None` if the cursor is not a batch of this tenant.
    pub async fn batches(&self, tenant: TenantId, after: Option<BatchId>, limit: u32) -> Result<Option<Page<Batch>>> {
        todo!("{tenant} {after:?} {limit}")
    }

    /// Turns `validating` or `in_progress` into `cancelling` and returns the batch as it is then; the caller judges its state.
    pub async fn cancel_batch(&self, tenant: TenantId, id: BatchId) -> Result<Option<Batch>> {
        todo!("{tenant} {id}")
    }

    /// Leases the oldest batch that waits for a phase and that nobody holds, with its input file (even if deleted meanwhile).
    pub async fn take_batch(&self, phase: Phase, seconds: f64) -> Result<Option<(Batch, File, Term)>> {
        todo!("{phase:?} {seconds}")
    }

    /// Extends a lease. False if it is not held any more: stop working on the batch.
    pub async fn keep_batch(&self, id: BatchId, term: Term, seconds: f64) -> Result<bool> {
        todo!("{id} {term:?} {seconds}")
    }

    /// `validating → in_progress`: all lines are inserted and may be dispatched. False if the batch was cancelled or the lease lost.
    pub async fn start_batch(&self, id: BatchId, term: Term, total: u64, model: Option<&str>) -> Result<bool> {
        todo!("{id} {term:?} {total} {model:?}")
    }

    /// `validating → failed`, with the event; lines inserted so far are pruned later.
    pub async fn reject_batch(&self, id: BatchId, term: Term, errors: &[BatchError]) -> Result<bool> {
        todo!("{id} {term:?} {errors:?}")
    }

    /// Ends up to `limit` unfinished lines of cancelled and overdue batches and returns how many. Running ones are ended
    /// too: their late results are fenced, their workers are told by [`Store::lost_claims`]. Also ends overdue single requests.
    pub async fn end_unfinished(&self, limit: u32) -> Result<u64> {
        todo!("{limit}")
    }

    /// Writes the terminal state that follows from the batch's state (`completed`, `expired` or `cancelled`), its files and its event.
    pub async fn complete_batch(&self, id: BatchId, term: Term, output: Option<&File>, errors: Option<&File>) -> Result<bool> {
        todo!("{id} {term:?} {output:?} {errors:?}")
    }

    /// Deletes up to `limit` rows of lines (with bodies and results) of terminal batches; returns how many went.
    pub async fn prune_lines(&self, limit: u32) -> Result<u64> {
        todo!("{limit}")
    }
}
