//! Doorbells become running requests: as many as there is room for are claimed, the claim is committed, the doorbells are answered,
//! and only then are bodies read and requests handed to the engine.

use std::time::Duration;

use backing::{
    Backing, Error,
    queue::{Doorbell, Doorbells},
    shutdown::Shutdown,
    store::Claimed,
};
use bytes::Bytes;
use domain::{
    error::ApiError,
    id::{RequestId, WorkerId},
    request::Request,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    bodies,
    claims::{Claim, Claims},
    finish::Finish,
    inference::{Command, Job, Served},
};

pub(super) struct Intake<'a> {
    backing: Backing,
    worker: WorkerId,
    lease: Duration,
    doorbells: Doorbells,
    claims: Claims,
    finish: &'a Finish,
    commands: mpsc::Sender<Command>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        backing: Backing,
        worker: WorkerId,
        lease: Duration,
        served: &Served,
        claims: Claims,
        finish: &'a Finish,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let look_ahead = u16::try_from(served.claims_max()).unwrap_or(u16::MAX);
        let doorbells = backing.queue.subscribe(&served.name, look_ahead);
        Self { backing, worker, lease, doorbells, claims, finish, commands }
    }

    /// Takes requests in until the shutdown, which never interrupts it between a claim and the engine.
    /// Cancels `fenced` if the lease is over, or if a claim's fate is unknown: rows may be ours that we do not know of.
    pub(super) async fn run(mut self, shutdown: &Shutdown, fenced: &CancellationToken) {
        while let Some(room) = shutdown.run_until_cancelled(self.claims.room()).await {
            let Some(rung) = shutdown.run_until_cancelled(self.doorbells.next(room)).await else { return };
            match self.claim(&rung).await {
                Ok(claimed) => {
                    self.doorbells.ack(rung).await;
                    self.start(claimed).await;
                }
                Err(doubt) => {
                    tracing::warn!(worker = %self.worker, "no claims any more: {doubt}");
                    self.doorbells.give_back(rung).await;
                    return fenced.cancel();
                }
            }
        }
    }

    /// Compare-and-set in the store. A doorbell that could not be claimed rang in vain, unless our lease is over: answered by the dead,
    /// it would be missed only when the dispatcher loses its patience.
    async fn claim(&self, rung: &[Doorbell]) -> Result<Vec<Claimed>, Doubt> {
        // In the dispatcher's order; a doorbell may ring twice.
        let mut ids: Vec<RequestId> = Vec::with_capacity(rung.len());
        for id in rung.iter().map(|doorbell| doorbell.envelope.request()) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let claimed = self.backing.store.claim(self.worker, &ids).await?;
        if claimed.is_empty() && !self.backing.store.beat(self.worker, self.lease.as_secs_f64()).await? {
            return Err(Doubt::LeaseOver);
        }
        metrics::counter!("millrace_claims_total").increment(claimed.len() as u64);
        metrics::counter!("millrace_doorbells_in_vain_total").increment((ids.len() - claimed.len()) as u64);
        Ok(claimed)
    }

    async fn start(&self, claimed: Vec<Claimed>) {
        let bodies = bodies::load(&self.backing.objects, &claimed).await;
        let (mut refused, mut unread) = (Vec::new(), Vec::new());
        for (request, body) in claimed.into_iter().zip(bodies) {
            let Some(mut claim) = self.claims.place(request) else { continue };
            match self.read(&claim, body) {
                Ok(request) => {
                    claim.return_token_ids = request.generation.return_token_ids;
                    let alone = claim.request.attempts > 1;
                    let ticket = self.claims.hold(claim);
                    // An engine that has gone is noticed by the one who waits for its events.
                    let _ = self.commands.send(Command::Run(Box::new(Job { ticket, request, alone }))).await;
                }
                Err(Some(error)) => refused.push((claim, Err(error))),
                Err(None) => unread.push(claim),
            }
        }
        self.finish.commit(refused).await;
        self.finish.give_back(unread).await;
    }

    /// The request to run; or the error that ends it; or nothing, if its body cannot be read now.
    fn read(&self, claim: &Claim, body: Result<Bytes, Error>) -> Result<Request, Option<ApiError>> {
        let id = claim.request.id;
        match body {
            Ok(body) => {
                let mut request = Request::parse(claim.request.endpoint, &body).map_err(Some)?;
                // Chance belongs to the request and not to the worker: a second attempt gives the same answer.
                request.generation.seed.get_or_insert_with(|| seed(id));
                Ok(request)
            }
            Err(Error::NoObject(key)) => {
                tracing::error!(request = %id, key, "the body is gone");
                Err(Some(ApiError::server()))
            }
            Err(error) => {
                tracing::warn!(request = %id, "the body cannot be read now: {error}");
                Err(None)
            }
        }
    }
}

/// Why it is uncertain what the store holds in our name.
#[derive(Debug, thiserror::Error)]
enum Doubt {
    #[error("the lease is over")]
    LeaseOver,
    #[error(transparent)]
    Unknown(#[from] Error),
}

/// The random half of the id.
fn seed(id: RequestId) -> u64 {
    id.uuid().as_u128() as u64
}
