//! Requests on their way: accepted, dispatched, claimed, given back. How they end is in `results.rs`.

use super::*;
use domain::{
    answer::Outcome,
    fairness::{Choice, Claimant},
    id::{TenantId, WorkerId},
    request::{Endpoint, Lane, State},
};

/// Where the body of a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Inline(String),
    Object {
        key: String,
    },
    /// A part of an input file.
    Range {
        key: String,
        offset: u64,
        bytes: u32,
    },
}

/// A single request as it is accepted.
#[derive(Clone, Debug)]
pub struct NewSingle {
    pub id: RequestId,
    pub tenant: TenantId,
    pub endpoint: Endpoint,
    pub model: String,
    pub cost: u64,
    /// Inline or an object.
    pub body: Body,
    pub deadline_seconds: u64,
    pub traceparent: Option<String>,
}

/// A single request as its owner sees it.
#[derive(Clone, Debug)]
pub struct SingleView {
    pub id: RequestId,
    pub endpoint: Endpoint,
    pub model: String,
    pub state: State,
    pub created_at: i64,
    /// Status and body location, once the request has ended with a result.
    pub result: Option<(u16, Body)>,
}

/// A request that a worker now owns, under this epoch.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub id: RequestId,
    pub epoch: i32,
    pub tenant: TenantId,
    pub batch: Option<BatchId>,
    pub endpoint: Endpoint,
    pub model: String,
    pub body: Body,
    pub attempts: u32,
    pub traceparent: Option<String>,
}

/// Which dispatched requests go back to `queued`.
#[derive(Clone, Debug)]
pub enum Undelivered {
    /// These were not confirmed by the broker.
    These(Vec<RequestId>),
    /// The queue of this model and lane was found missing, wedged or newly declared.
    Lane { model: String, lane: Lane },
    /// Nobody answered the doorbell for this many seconds.
    Unanswered { seconds: f64 },
}

impl Store {
    /// Accepts a single request (lane `interactive`).
    pub async fn insert_single(&self, new: &NewSingle) -> Result<()> {
        todo!("{new:?}")
    }

    /// A single request of a tenant.
    pub async fn single(&self, tenant: TenantId, id: RequestId) -> Result<Option<SingleView>> {
        todo!("{tenant} {id}")
    }

    /// Cancels a single request unless it has ended. True if it was cancelled by this call.
    pub async fn cancel_single(&self, tenant: TenantId, id: RequestId) -> Result<bool> {
        todo!("{tenant} {id}")
    }

    /// The (model, lane) pairs with queued work and a live worker: room is `2 × Σ slots` of those workers less what is dispatched.
    pub async fn dispatchable(&self) -> Result<Vec<(String, Lane, usize)>> {
        todo!()
    }

    /// The tenants with queued work for a model and lane (at most 256, the least served first), each with its `room` most urgent
    /// requests: earliest deadline first, lines of a batch in file order so that neighbours stay together.
    pub async fn claimants(&self, model: &str, lane: Lane, room: usize) -> Result<Vec<Claimant>> {
        todo!("{model} {lane:?} {room}")
    }

    /// `queued → dispatched` and the tenants' counters in one transaction, fenced by the dispatcher's term. Returns what was
    /// really marked, in the order of the choice, with trace parents.
    pub async fn mark_dispatched(&self, choice: &Choice, term: Term) -> Result<Vec<(RequestId, Option<String>)>> {
        todo!("{choice:?} {term:?}")
    }

    /// `dispatched → queued`; returns how many.
    pub async fn return_dispatched(&self, which: &Undelivered) -> Result<u64> {
        todo!("{which:?}")
    }

    /// `dispatched → running` under a new epoch, for those of `ids` that are dispatched. Claims nothing for a worker whose lease has
    /// ended. Requests whose attempts are used up are failed here instead of claimed.
    pub async fn claim(&self, worker: WorkerId, ids: &[RequestId]) -> Result<Vec<Claimed>> {
        todo!("{worker} {ids:?}")
    }

    /// Gives claims back to `queued` without counting the attempt (drain).
    pub async fn release(&self, worker: WorkerId, claims: &[(RequestId, i32)]) -> Result<u64> {
        todo!("{worker} {claims:?} {:?}", None::<Outcome>)
    }

    /// Those of the held claims that are not this worker's any more (cancelled, expired, swept): stop computing them.
    pub async fn lost_claims(&self, worker: WorkerId, held: &[(RequestId, i32)]) -> Result<Vec<RequestId>> {
        todo!("{worker} {held:?}")
    }
}
