//! The lease under which one process at a time reads or writes the files of a batch.

use std::time::Instant;

use backing::store::{Store, Term};
use domain::id::BatchId;

use crate::settings::LeaseSettings;

/// Runs `work` and extends the lease beside it. `None` if the lease was lost: the work is dropped, somebody else repeats it.
pub(crate) async fn while_held<T>(
    store: &Store,
    batch: BatchId,
    term: Term,
    timing: &LeaseSettings,
    work: impl Future<Output = T>,
) -> Option<T> {
    let lost = async {
        let mut until = Instant::now() + timing.lease;
        while Instant::now() < until {
            tokio::time::sleep(timing.heartbeat).await;
            let asked_at = Instant::now();
            match tokio::time::timeout(timing.heartbeat, store.keep_batch(batch, term, timing.lease.as_secs_f64())).await {
                Ok(Ok(true)) => until = asked_at + timing.lease,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%batch, "cannot extend the lease: {error}"),
                Err(_) => tracing::warn!(%batch, "cannot extend the lease in time"),
            }
        }
    };
    tokio::select! {
        done = work => Some(done),
        () = lost => {
            tracing::warn!(%batch, "lease lost");
            None
        }
    }
}
