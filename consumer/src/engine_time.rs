//! How long the engine has worked in this process. What is left of the wall time went elsewhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A running total, shared by the thread that computes and whoever reports it.
#[derive(Clone, Debug, Default)]
pub struct EngineTime(Arc<AtomicU64>);

impl EngineTime {
    /// Does some of the engine's work: loading, taking a request in, a step.
    pub(crate) fn measure<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanoseconds, Ordering::Relaxed);
        done
    }

    /// Everything so far.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
