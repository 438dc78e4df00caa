//! Heartbeats of consumers. A worker whose lease has ended is dead: its claims go back, and it must not claim again under that id.

use super::*;
use domain::id::WorkerId;

/// A consumer process.
#[derive(Clone, Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub model: Option<String>,
    /// Requests that run at once.
    pub slots: u32,
}

impl Store {
    /// Adds a live worker and wakes the dispatcher.
    pub async fn register_worker(&self, worker: &Worker, seconds: f64) -> Result<()> {
        todo!("{worker:?} {seconds}")
    }

    /// Extends a worker's lease. False if it has ended already: fence yourself off and register anew.
    pub async fn beat(&self, id: WorkerId, seconds: f64) -> Result<bool> {
        todo!("{id} {seconds}")
    }

    /// Removes a worker that leaves in order; its claims must be released before.
    pub async fn retire_worker(&self, id: WorkerId) -> Result<()> {
        todo!("{id}")
    }

    /// Removes dead workers and returns their claims to `queued` (the attempt stays counted); gives the number of claims.
    pub async fn sweep_workers(&self) -> Result<u64> {
        todo!()
    }

    /// Live workers that serve a model.
    pub async fn live_workers(&self) -> Result<Vec<Worker>> {
        todo!()
    }
}
