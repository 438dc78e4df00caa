//! The worker's sign of life, and the ear for what was taken from it: cancelled, expired and swept requests stop being computed.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use backing::store::Store;
use domain::id::WorkerId;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::{
    claims::Claims,
    inference::{Command, Ticket},
};
use crate::settings::LeaseSettings;

/// Wake-ups come in bursts, one look answers them all.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(200);

pub(super) struct Heart {
    store: Store,
    worker: WorkerId,
    timing: LeaseSettings,
    /// When the store will count us as dead; measured from before the last sign of life, so never later than the store thinks.
    lease_until: Instant,
    /// Requests that the engine is yet to be told to stop: it may be in a long step, and the heart does not wait for it.
    unstopped: Vec<Ticket>,
}

impl Heart {
    /// To be made before the worker is registered.
    pub(super) fn new(store: Store, worker: WorkerId, timing: LeaseSettings) -> Self {
        Self { store, worker, timing, lease_until: Instant::now() + timing.lease, unstopped: Vec::new() }
    }

    /// Beats until dropped. Cancels `fenced` once the lease is lost, or once the store could not be reached for as long as it lasts.
    pub(super) async fn beat(mut self, claims: &Claims, commands: &mpsc::Sender<Command>, fenced: &CancellationToken) -> Infallible {
        let mut changes = self.store.changes();
        let mut beat_at = Instant::now() + self.timing.heartbeat;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(beat_at.into()) => {
                    if !self.extend_lease().await {
                        fenced.cancel();
                    }
                    beat_at = Instant::now() + self.timing.heartbeat;
                }
                change = changes.next() => {
                    if !claims.concerned_by(&change) {
                        continue;
                    }
                    tokio::time::sleep(LOOK_INTERVAL_MIN).await;
                }
            }
            self.find_what_is_lost(claims).await;
            // An engine that has gone is noticed by the one who waits for its events.
            self.unstopped.retain(|ticket| matches!(commands.try_send(Command::Cancel(*ticket)), Err(TrySendError::Full(_))));
        }
    }

    async fn extend_lease(&mut self) -> bool {
        let asked_at = Instant::now();
        let patience = self.timing.heartbeat.max(Duration::from_millis(100));
        match tokio::time::timeout(patience, self.store.beat(self.worker, self.timing.lease.as_secs_f64())).await {
            Ok(Ok(alive)) => {
                self.lease_until = asked_at + self.timing.lease;
                alive
            }
            Ok(Err(error)) => {
                tracing::warn!(worker = %self.worker, "heartbeat failed: {error}");
                Instant::now() < self.lease_until
            }
            Err(_) => {
                tracing::warn!(worker = %self.worker, "heartbeat unanswered");
                Instant::now() < self.lease_until
            }
        }
    }

    async fn find_what_is_lost(&mut self, claims: &Claims) {
        let held = claims.epochs();
        if held.is_empty() {
            return;
        }
        match tokio::time::timeout(self.timing.heartbeat, self.store.lost_claims(self.worker, &held)).await {
            Ok(Ok(lost)) => {
                for ticket in claims.drop_lost(&lost) {
                    tracing::debug!(worker = %self.worker, ticket, "claim lost: no longer computed");
                    self.unstopped.push(ticket);
                }
            }
            Ok(Err(error)) => tracing::warn!(worker = %self.worker, "cannot look for lost claims: {error}"),
            Err(_) => tracing::warn!(worker = %self.worker, "looking for lost claims takes too long"),
        }
    }
}
