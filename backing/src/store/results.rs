//! Results: the fenced, grouped commit by which requests end, and what assembly reads back.

use super::*;
use domain::{answer::Outcome, id::WorkerId, request::State};

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
    /// Requests that now have their one result and charge.
    pub won: usize,
    /// Results that came too late or twice and changed nothing.
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
        todo!("{worker} {ended:?}")
    }

    /// Those of the given single requests that have ended, with or without a result: the safety net of those who wait for them.
    pub async fn ended_singles(&self, ids: &[RequestId]) -> Result<Vec<RequestId>> {
        todo!("{ids:?}")
    }

    /// Deletes ended single requests older than `seconds` with bodies and results, at most `limit`; returns the object keys to remove.
    pub async fn prune_singles(&self, seconds: f64, limit: u32) -> Result<Vec<String>> {
        todo!("{seconds} {limit} {:?}", State::Queued)
    }
}
