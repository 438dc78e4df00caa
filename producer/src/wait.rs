//! Waiting for the end of a request: one listener wakes all who wait, by id. Whoever vanishes has a minute to be forgotten in;
//! then the request is cancelled. What is sent to a waiting client is in `http/keep_alive.rs`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use backing::{
    Backing,
    store::{Body, SingleView, Store},
};
use bytes::Bytes;
use domain::{
    error::ApiError,
    id::{RequestId, TenantId},
    request::State,
};
use tokio::sync::Notify;

use crate::Failure;

/// Ids in one question to the store.
const IDS_AT_ONCE: usize = 500;
/// Cancels in one round, so that a crowd of vanished calls does not hold up the look after those who still wait.
const CANCELS_AT_ONCE: usize = 100;
/// Vanished calls that are watched; the requests of further ones end by their deadline.
const VANISHED_MAX: usize = 100_000;

/// Everybody who waits in this process.
pub(crate) struct Waiters {
    store: Store,
    vanished_after: Duration,
    desk: Arc<Mutex<Desk>>,
}

#[derive(Default)]
struct Desk {
    waiting: HashMap<RequestId, Arc<Notify>>,
    vanished: HashMap<RequestId, (TenantId, Instant)>,
}

/// One call that waits for one request.
pub(crate) struct Waiting {
    desk: Arc<Mutex<Desk>>,
    id: RequestId,
    tenant: TenantId,
    bell: Arc<Notify>,
    /// Nobody else cares for the request: if this call goes away before the end, it is cancelled.
    sole: bool,
}

impl Waiters {
    pub(crate) fn new(store: Store, vanished_after: Duration) -> Self {
        Self { store, vanished_after, desk: Arc::default() }
    }

    /// Begins to wait. Called before the request is submitted, so that no wake-up can come too early.
    pub(crate) fn join(&self, tenant: TenantId, id: RequestId) -> Waiting {
        let bell = Arc::new(Notify::new());
        lock(&self.desk).waiting.insert(id, bell.clone());
        Waiting { desk: self.desk.clone(), id, tenant, bell, sole: false }
    }

    /// Wakes the one who waits for a request, if that is in this process.
    pub(crate) fn wake(&self, id: RequestId) {
        if let Some(bell) = lock(&self.desk).waiting.get(&id) {
            bell.notify_one();
        }
    }

    /// The safety net, once a second: wakes those whose wake-up was lost and cancels what nobody waits for any more.
    pub(crate) async fn look_around(&self) {
        let waiting: Vec<RequestId> = lock(&self.desk).waiting.keys().copied().collect();
        metrics::gauge!("millrace_waiting_calls").set(waiting.len() as f64);
        for ids in waiting.chunks(IDS_AT_ONCE) {
            match self.store.ended_singles(ids).await {
                Ok(ended) => ended.into_iter().for_each(|id| self.wake(id)),
                Err(error) => return tracing::warn!(%error, "cannot look after waiting calls"),
            }
        }
        for (id, tenant) in self.take_overdue() {
            match self.store.cancel_single(tenant, id).await {
                Ok(cancelled) => tracing::info!(request = %id, cancelled, "its client is gone"),
                Err(error) => tracing::warn!(request = %id, %error, "cannot cancel; it ends by its deadline"),
            }
        }
    }

    fn take_overdue(&self) -> Vec<(RequestId, TenantId)> {
        let mut desk = lock(&self.desk);
        let overdue = |(_, since): &(TenantId, Instant)| since.elapsed() >= self.vanished_after;
        let due = desk.vanished.iter().filter(|(_, call)| overdue(call)).map(|(id, (tenant, _))| (*id, *tenant));
        let due: Vec<_> = due.take(CANCELS_AT_ONCE).collect();
        for (id, _) in &due {
            desk.vanished.remove(id);
        }
        due
    }
}

impl Waiting {
    /// The request that is waited for.
    pub(crate) fn id(&self) -> RequestId {
        self.id
    }

    /// From now on the request matters to this call alone.
    pub(crate) fn care_alone(&mut self) {
        self.sole = true;
    }

    /// Waits for the end of the request. A store that does not answer prolongs the wait: the next look around rings again.
    pub(crate) async fn ended(&mut self, backing: &Backing) -> Ended {
        loop {
            self.bell.notified().await;
            match Ended::find(backing, self.tenant, self.id).await {
                Ok(Some(ended)) => {
                    self.sole = false;
                    return ended;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(request = %self.id, %error, "cannot read the end of a request yet"),
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut desk = lock(&self.desk);
        desk.waiting.remove(&self.id);
        if self.sole && desk.vanished.len() < VANISHED_MAX {
            desk.vanished.insert(self.id, (self.tenant, Instant::now()));
        }
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a request ended, in the words for its owner.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Ended {
    async fn find(backing: &Backing, tenant: TenantId, id: RequestId) -> Result<Option<Self>, Failure> {
        match backing.store.single(tenant, id).await? {
            Some(view) => Self::of(backing, view).await,
            None => Ok(None),
        }
    }

    /// The end of a request, with its stored answer; `None` while it is on its way.
    pub(crate) async fn of(backing: &Backing, view: SingleView) -> Result<Option<Self>, Failure> {
        if !view.state.is_terminal() {
            return Ok(None);
        }
        Ok(Some(match view.result {
            Some((status, Body::Inline(text))) => Self { status, body: text.into() },
            Some((status, Body::Object { key })) => Self { status, body: backing.objects.read_whole(&key, 0, None).await? },
            Some((status, Body::Range { key, offset, bytes })) => {
                Self { status, body: backing.objects.read_whole(&key, offset, Some(bytes.into())).await? }
            }
            None => Self::without_answer(view.state),
        }))
    }

    fn without_answer(state: State) -> Self {
        let error = match state {
            State::Cancelled => ApiError::new(409, "invalid_request_error", "request_cancelled", "the request was cancelled"),
            _ => ApiError::new(500, "server_error", "request_expired", "the request could not be answered before its deadline"),
        };
        Self { status: error.status, body: error.envelope().to_string().into() }
    }
}
