//! The requests that a worker owns now, each with its place in the worker. How they are claimed is in `intake.rs`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use backing::store::{Change, Claimed};
use domain::id::RequestId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::inference::{Served, Ticket};

/// A request in this worker's hands. Its place is free again when this is dropped: after its result is stored, or when it is given up.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) request: Claimed,
    /// Whether the answer tells its token ids; known once the body is read.
    pub(super) return_token_ids: bool,
    pub(super) since: Instant,
    _place: OwnedSemaphorePermit,
}

/// All claims of one life of a worker; clones share them.
#[derive(Clone)]
pub(super) struct Claims {
    places: Arc<Semaphore>,
    places_max: usize,
    /// Requests that the engine runs at once.
    slots: usize,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    by_ticket: HashMap<Ticket, Claim>,
    tickets_issued: Ticket,
}

impl Claims {
    pub(super) fn new(served: &Served) -> Self {
        let places_max = served.claims_max();
        Self { places: Arc::new(Semaphore::new(places_max)), places_max, slots: served.slots, held: Arc::default() }
    }

    /// Waits for a free place and tells how many there are. Only intake takes places, so they stay free until it does.
    pub(super) async fn room(&self) -> usize {
        let first = self.places.acquire().await;
        self.places.available_permits() + usize::from(first.is_ok())
    }

    /// Gives a claimed request its place. `None` if there is no place for it, which intake rules out.
    pub(super) fn place(&self, request: Claimed) -> Option<Claim> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(Claim { request, return_token_ids: false, since: Instant::now(), _place: place })
    }

    /// Keeps a claim while it runs.
    pub(super) fn hold(&self, claim: Claim) -> Ticket {
        let mut held = self.lock();
        held.tickets_issued += 1;
        let ticket = held.tickets_issued;
        held.by_ticket.insert(ticket, claim);
        ticket
    }

    /// Takes a claim out because it has ended or is given up. `None` if it was lost meanwhile.
    pub(super) fn take(&self, ticket: Ticket) -> Option<Claim> {
        self.lock().by_ticket.remove(&ticket)
    }

    /// Takes all claims out.
    pub(super) fn take_all(&self) -> Vec<Claim> {
        self.lock().by_ticket.drain().map(|(_, claim)| claim).collect()
    }

    /// Whether some are being computed, and intake has a place for more or the engine has more than it can run at once.
    pub(super) fn suffice(&self) -> bool {
        let held = self.lock().by_ticket.len();
        held > 0 && (held > self.slots || self.places.available_permits() > 0)
    }

    /// Drops the claims on these requests and returns their tickets.
    pub(super) fn drop_lost(&self, lost: &[RequestId]) -> Vec<Ticket> {
        let mut held = self.lock();
        let tickets: Vec<_> =
            held.by_ticket.iter().filter(|(_, claim)| lost.contains(&claim.request.id)).map(|(ticket, _)| *ticket).collect();
        tickets.iter().for_each(|ticket| drop(held.by_ticket.remove(ticket)));
        tickets
    }

    /// Every claim as the store knows it.
    pub(super) fn epochs(&self) -> Vec<(RequestId, i32)> {
        self.lock().by_ticket.values().map(|claim| (claim.request.id, claim.request.epoch)).collect()
    }

    /// Whether a change may have taken a claim from us.
    pub(super) fn concerned_by(&self, change: &Change) -> bool {
        let held = self.lock();
        match change {
            Change::Batch(batch) => held.by_ticket.values().any(|claim| claim.request.batch == Some(*batch)),
            Change::Ended(request) => held.by_ticket.values().any(|claim| claim.request.id == *request),
            Change::Queued | Change::Keys | Change::Event => false,
        }
    }

    /// Waits until all places are free. False if that takes too long.
    pub(super) async fn emptied(&self, patience: Duration) -> bool {
        let all = u32::try_from(self.places_max).unwrap_or(u32::MAX);
        tokio::time::timeout(patience, self.places.acquire_many(all)).await.is_ok()
    }

    /// A panic of another thread cannot leave the map half changed.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use backing::store::Body;
    use domain::{id::TenantId, request::Endpoint};

    use super::*;

    fn claim(claims: &Claims) -> Claim {
        let request = Claimed {
            id: RequestId::new(),
            epoch: 1,
            tenant: TenantId::new(),
            batch: None,
            endpoint: Endpoint::Completions,
            model: "nano".to_owned(),
            body: Body::Inline(String::new()),
            attempts: 1,
            traceparent: None,
        };
        claims.place(request).unwrap()
    }

    #[test]
    fn claims_suffice_until_none_runs_or_nothing_can_follow_those_that_run() {
        let served = Served { name: "nano".to_owned(), context_length: 64, bytes_per_token: 4.0, slots: 4, device: "none".to_owned() };
        let claims = Claims::new(&served);
        assert!(!claims.suffice(), "nothing runs");
        let held: Vec<_> = (0..served.claims_max()).map(|_| claims.hold(claim(&claims))).collect();
        assert!(claims.suffice(), "more are held than can run");
        let mut ended: Vec<_> = held[..2].iter().map(|ticket| claims.take(*ticket)).collect();
        assert!(!claims.suffice(), "results that wait to be stored keep the places of those that could run next");
        ended.pop();
        assert!(claims.suffice(), "intake has a place");
        held.iter().for_each(|ticket| drop(claims.take(*ticket)));
        assert!(!claims.suffice(), "nothing runs any more");
    }
}
