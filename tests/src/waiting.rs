//! Waiting for something to become true, with a limit and without sleeping for longer than needed.

use std::time::{Duration, Instant};

/// Longer than anything here takes on two busy cores; a test that reaches it has found a hang.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Looks until `look` finds something; panics with `what` when the limit is over.
pub async fn eventually<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
    }
}
