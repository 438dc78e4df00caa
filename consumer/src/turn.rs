//! The loop around every `x_once()`: at once again while there is work, else at the next change or second.
//! The loop of requests, which never idles between two, is in `infer.rs`.

use std::time::Duration;

use backing::store::{Change, Changes, Store};

/// Whether a step found something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Worked,
    Idle,
}

/// The safety net under lossy wake-ups.
const POLL: Duration = Duration::from_secs(1);
const FAULT_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The pauses between the steps of one loop.
pub(crate) struct Turns {
    name: &'static str,
    changes: Changes,
    wakes: fn(&Change) -> bool,
    faults: u32,
}

impl Turns {
    pub(crate) fn new(name: &'static str, store: &Store, wakes: fn(&Change) -> bool) -> Self {
        Self { name, changes: store.changes(), wakes, faults: 0 }
    }

    /// Waits for the time of the next step. One that failed is tried again, ever more slowly.
    pub(crate) async fn after(&mut self, step: anyhow::Result<Step>) {
        match step {
            Ok(Step::Worked) => self.faults = 0,
            Ok(Step::Idle) => {
                self.faults = 0;
                let woken = async { while !(self.wakes)(&self.changes.next().await) {} };
                // Whether it was a change or the poll makes no difference.
                let _ = tokio::time::timeout(POLL, woken).await;
            }
            Err(error) => {
                tracing::warn!(duty = self.name, "{error:#}");
                tokio::time::sleep(backoff(self.faults)).await;
                self.faults += 1;
            }
        }
    }
}

/// The wait after so many faults in a row: doubled each time, up to a bound, and spread by a fifth.
pub(crate) fn backoff(faults: u32) -> Duration {
    let base = Duration::from_millis(250).saturating_mul(1 << faults.min(6));
    base.min(FAULT_PAUSE_MAX).mul_f64(rand::random_range(0.8..1.2))
}
