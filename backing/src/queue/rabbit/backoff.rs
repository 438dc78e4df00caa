//! Pauses between attempts: growing, with jitter, and never so long that work stands still when the broker is back.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// After this much quiet the next failure counts as the first.
const QUIET: Duration = Duration::from_secs(10);

pub(super) struct Backoff {
    next: Duration,
    paused: Instant,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST, paused: Instant::now() }
    }
}

impl Backoff {
    /// Waits before the next attempt.
    pub(super) async fn pause(&mut self) {
        if self.paused.elapsed() > QUIET {
            self.next = FIRST;
        }
        tokio::time::sleep(self.next.mul_f64(rand::random_range(0.5..1.0))).await;
        self.next = (self.next * 2).min(LONGEST);
        self.paused = Instant::now();
    }
}
