//! What nobody else would do: the dead are buried, the cancelled and overdue are ended, the old is removed. Each duty has its own lease,
//! so that of many consumers one does it at a time, and every duty is safe twice.

use std::time::Duration;

use backing::{
    Backing,
    shutdown::Shutdown,
    store::{Change, Prunable},
};
use uuid::Uuid;

use crate::{
    settings::Settings,
    turn::{Step, backoff},
};

/// Rows changed in one transaction.
const CHUNK: u32 = 500;

/// A thing to be done every now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Claims of dead workers go back to the backlog.
    Sweep,
    /// Lines of cancelled and overdue batches, and overdue single requests, come to their end.
    End,
    /// Rows of the lines of finished batches go.
    PruneLines,
    /// Single requests go when nobody may read them any more.
    PruneSingles,
    /// Bytes of deleted and expired files go.
    Collect,
}

impl Duty {
    /// All duties, the urgent ones first.
    pub const ALL: [Self; 5] = [Self::Sweep, Self::End, Self::PruneLines, Self::PruneSingles, Self::Collect];

    const fn name(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::End => "end",
            Self::PruneLines => "prune_lines",
            Self::PruneSingles => "prune_singles",
            Self::Collect => "collect",
        }
    }

    fn period(self, settings: &Settings) -> Duration {
        match self {
            Self::Sweep => settings.lease.sweep,
            Self::End => Duration::from_secs(1),
            Self::PruneLines | Self::PruneSingles => Duration::from_secs(5),
            Self::Collect => Duration::from_secs(60),
        }
    }

    /// Does a bounded part of the duty.
    pub async fn once(self, backing: &Backing, settings: &Settings) -> anyhow::Result<Step> {
        let done = match self {
            Self::Sweep => sweep(backing).await?,
            Self::End => backing.store.end_unfinished(CHUNK).await?,
            Self::PruneLines => prune(backing, backing.store.prunable_lines(CHUNK).await?).await?,
            Self::PruneSingles => prune(backing, backing.store.prunable_singles(settings.singles_kept.as_secs_f64(), CHUNK).await?).await?,
            Self::Collect => collect(backing).await?,
        };
        Ok(if done > 0 { Step::Worked } else { Step::Idle })
    }
}

/// Does a duty whenever it is due and nobody else leads it, until the shutdown.
pub(crate) async fn run(duty: Duty, backing: &Backing, settings: &Settings, shutdown: &Shutdown) {
    let holder = Uuid::new_v4();
    let mut changes = backing.store.changes();
    let mut faults = 0;
    let mut pause = Duration::ZERO;
    loop {
        let batch_changed = async { while !matches!(changes.next().await, Change::Batch(_)) {} };
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
            // Perhaps it was cancelled: its lines are ended at once.
            () = batch_changed, if duty == Duty::End => {}
        }
        match shutdown.run_until_cancelled(lead(duty, holder, backing, settings)).await {
            None => break,
            Some(Ok(())) => (faults, pause) = (0, duty.period(settings)),
            Some(Err(error)) => {
                tracing::warn!(duty = duty.name(), "{error:#}");
                (faults, pause) = (faults + 1, backoff(faults));
            }
        }
    }
    if let Err(error) = backing.store.resign(duty.name(), holder).await {
        tracing::debug!(duty = duty.name(), "cannot resign, so the lease has to run out: {error}");
    }
}

async fn lead(duty: Duty, holder: Uuid, backing: &Backing, settings: &Settings) -> anyhow::Result<()> {
    let seconds = (duty.period(settings) * 2).max(settings.lease.heartbeat).as_secs_f64();
    while backing.store.lead(duty.name(), holder, seconds).await?.is_some() {
        if duty.once(backing, settings).await? == Step::Idle {
            break;
        }
    }
    Ok(())
}

async fn sweep(backing: &Backing) -> anyhow::Result<u64> {
    let returned = backing.store.sweep_workers().await?;
    if returned > 0 {
        tracing::warn!(claims = returned, "claims of dead workers returned");
        metrics::counter!("millrace_lease_expiries_total").increment(returned);
    }
    Ok(returned)
}

/// Objects first, then the rows that name them: a crash in between repeats the removal.
async fn prune(backing: &Backing, prunable: Prunable) -> anyhow::Result<u64> {
    for key in &prunable.keys {
        backing.objects.delete(key).await?;
    }
    Ok(backing.store.prune(&prunable.requests).await?)
}

/// Bytes first, then the row, for the same reason.
async fn collect(backing: &Backing) -> anyhow::Result<u64> {
    let mut removed = Vec::new();
    for file in backing.store.files_to_collect(CHUNK).await? {
        match backing.objects.delete(&file.key).await {
            Ok(()) => removed.push(file.id),
            Err(error) => tracing::warn!(file = %file.id, "cannot remove the bytes of a file: {error}"),
        }
    }
    backing.store.forget_files(&removed).await?;
    Ok(removed.len() as u64)
}
