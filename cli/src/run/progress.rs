//! The progress bar of a run: requests, rate, tokens per second, time left.

use std::time::{Duration, Instant};

use anyhow::Context;
use backing::{Backing, store::Change};
use domain::{
    batch::Batch,
    id::{BatchId, TenantId},
    usage::Usage,
};
use indicatif::{ProgressBar, ProgressStyle};

/// A bar that follows one batch.
pub struct Progress {
    bar: ProgressBar,
    since: Instant,
    /// What an earlier run had done already, so that the rates are those of this run.
    earlier: Usage,
}

const REFRESH: Duration = Duration::from_millis(200);

impl Progress {
    /// A bar on standard error; hidden if asked for, or if standard error is not a terminal.
    pub fn new(hidden: bool, batch: &Batch) -> Self {
        let bar = if hidden { ProgressBar::hidden() } else { ProgressBar::new(batch.counts.total) };
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len}  {per_sec}  {prefix}  {eta} left") {
            bar.set_style(style.progress_chars("=> "));
        }
        if batch.counts.ended() > 0 && !hidden {
            eprintln!("resuming: {} of {} are answered already", batch.counts.ended(), batch.counts.total);
            bar.reset_eta();
        }
        Self { bar, since: Instant::now(), earlier: batch.usage }
    }

    /// Follows the batch until it has ended.
    pub async fn follow(&mut self, backing: &Backing, tenant: TenantId, id: BatchId) -> anyhow::Result<Batch> {
        let mut changes = backing.store.changes();
        loop {
            let batch = backing.store.batch(tenant, id).await?.context("the batch is gone from the state folder")?;
            self.show(&batch);
            if batch.state.is_terminal() {
                return Ok(batch);
            }
            let moved_on = async { while changes.next().await != Change::Batch(id) {} };
            // Between its states the batch counts; the bar shows it as often as an eye can follow.
            let _ = tokio::time::timeout(REFRESH, moved_on).await;
        }
    }

    /// Takes the bar off the screen.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, batch: &Batch) {
        let tokens = batch.usage.total().saturating_sub(self.earlier.total());
        let rate = tokens as f64 / self.since.elapsed().as_secs_f64().max(1e-3);
        self.bar.set_message(batch.state.name());
        self.bar.set_prefix(format!("{rate:.0} tokens/s"));
        self.bar.set_length(batch.counts.total);
        self.bar.set_position(batch.counts.ended());
    }
}
