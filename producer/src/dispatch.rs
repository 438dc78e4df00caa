//! The dispatcher: moves the most deserving part of the backlog from the store into the queue, a short window at a time.
//! Who deserves is decided in `domain::fairness`; what may be marked is guarded by the store, under the leader's term.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use backing::{
    Backing, Result,
    queue::LaneLost,
    shutdown::{Shutdown, pause},
    store::{Change, Changes, DISPATCHER, Term, Undelivered},
};
use domain::{envelope::Envelope, fairness, id::RequestId, request::Lane};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use uuid::Uuid;

/// The lease of the dispatcher, and how often it is extended.
const LEASE_SECONDS: f64 = 10.0;
const LEASE_RENEWAL: Duration = Duration::from_secs(3);
/// A doorbell that nobody has answered for so long counts as lost.
const UNANSWERED_SECONDS: f64 = 60.0;
const UNANSWERED_CHECK: Duration = Duration::from_secs(5);
/// While signs of new work keep coming, a round is followed by a rest of so many times its own length, up to a bound.
const SWARM_ROUNDS: u32 = 4;
const SWARM_MAX: Duration = Duration::from_millis(10);
/// How long a dispatcher counts as busy after it rang, and how long it then rests at most.
const BUSY: Duration = Duration::from_secs(5);
const BUSY_REST: Duration = Duration::from_millis(100);
const IDLE_REST: Duration = Duration::from_secs(1);
/// Rest after the broker or the store refused.
const REFUSED_REST: Duration = Duration::from_millis(500);
/// Doorbells in one call to the broker.
const DOORBELLS_AT_ONCE: usize = 1024;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many doorbells were rung; there may be room for more.
    Rang(usize),
    /// The broker took none of the doorbells.
    Refused,
    /// There is no work, no room for it, or somebody else leads.
    Idle,
}

/// Dispatches until the shutdown, then lets another process lead.
pub(crate) async fn run(backing: Backing, shutdown: &Shutdown) {
    let mut changes = backing.store.changes();
    let mut lost_lanes = backing.queue.lost_lanes();
    let mut dispatcher = Dispatcher::new(backing);
    let mut rang_at = None;
    while !shutdown.is_cancelled() {
        let began = Instant::now();
        let step = dispatcher.dispatch_once().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot dispatch");
            Step::Refused
        });
        if matches!(step, Step::Rang(_)) {
            rang_at = Some(Instant::now());
        }
        let swarm = SWARM_MAX.min(began.elapsed() * SWARM_ROUNDS);
        tokio::select! {
            _ = pause(shutdown, rest_after(step, swarm, rang_at)) => {}
            // After a refusal, what it gave back to the backlog would count as new work.
            () = new_work(&mut changes, swarm), if step == Step::Idle => {}
            lost = next_lost(&mut lost_lanes) => dispatcher.take_back(lost).await,
        }
    }
    dispatcher.resign().await;
}

/// How long to rest unless something happens: the window drains without a sign from every worker, so a busy dispatcher looks often.
fn rest_after(step: Step, swarm: Duration, rang_at: Option<Instant>) -> Duration {
    match step {
        Step::Rang(_) => swarm,
        Step::Refused => REFUSED_REST.mul_f64(rand::random_range(0.8..1.2)),
        Step::Idle if rang_at.is_some_and(|at| at.elapsed() < BUSY) => BUSY_REST,
        Step::Idle => IDLE_REST,
    }
}

/// Waits for a sign of new work or new room. Signs come in swarms, so it lets a swarm gather first.
async fn new_work(changes: &mut Changes, swarm: Duration) {
    tokio::time::sleep(swarm).await;
    while changes.next().await != Change::Queued {}
}

/// The next lost lane; `None` if signs were missed, so that any lane may be lost.
async fn next_lost(lanes: &mut Receiver<LaneLost>) -> Option<LaneLost> {
    match lanes.recv().await {
        Ok(lost) => Some(lost),
        Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

/// One candidate for the leadership. Any number of processes may have one: the lease lets one of them write.
pub struct Dispatcher {
    backing: Backing,
    holder: Uuid,
    term: Option<(Term, Instant)>,
    /// The fairness floor of each lane, from its previous choice.
    floors: HashMap<(String, Lane), f64>,
    unanswered_checked: Option<Instant>,
}

impl Dispatcher {
    /// A dispatcher that does not lead yet.
    pub fn new(backing: Backing) -> Self {
        Self { backing, holder: Uuid::new_v4(), term: None, floors: HashMap::new(), unanswered_checked: None }
    }

    /// Fills each lane that has work and room, once.
    pub async fn dispatch_once(&mut self) -> Result<Step> {
        let Some(term) = self.lead().await? else { return Ok(Step::Idle) };
        self.take_back_unanswered().await?;
        let lanes = self.backing.store.dispatchable().await?;
        let rounds = lanes.into_iter().map(|(model, lane, room)| {
            let floor = self.floors.get(&(model.clone(), lane)).copied();
            fill(&self.backing, term, model, lane, room, floor)
        });
        // All lanes are filled to the end, side by side: a fault in one must not cut another off between mark and publish.
        let filled = futures::future::join_all(rounds).await.into_iter().collect::<Result<Vec<_>>>()?;
        let rang: usize = filled.iter().map(|filled| filled.rang).sum();
        let refused = filled.iter().any(|filled| filled.refused);
        self.floors.extend(filled.into_iter().map(|filled| ((filled.model, filled.lane), filled.floor)));
        Ok(match rang {
            0 if refused => Step::Refused,
            0 => Step::Idle,
            rang => Step::Rang(rang),
        })
    }

    /// Takes or extends the lease.
    async fn lead(&mut self) -> Result<Option<Term>> {
        if let Some((term, since)) = self.term
            && since.elapsed() < LEASE_RENEWAL
        {
            return Ok(Some(term));
        }
        let now = Instant::now();
        let term = self.backing.store.lead(DISPATCHER, self.holder, LEASE_SECONDS).await?;
        if term != self.term.map(|(term, _)| term) {
            tracing::info!(leads = term.is_some(), "dispatcher");
            self.floors.clear();
        }
        self.term = term.map(|term| (term, now));
        Ok(term)
    }

    /// Every few seconds: doorbells that went unanswered for a minute are rung again.
    async fn take_back_unanswered(&mut self) -> Result<()> {
        if self.unanswered_checked.is_some_and(|at| at.elapsed() < UNANSWERED_CHECK) {
            return Ok(());
        }
        self.unanswered_checked = Some(Instant::now());
        take_back(&self.backing, "unanswered", &Undelivered::Unanswered { seconds: UNANSWERED_SECONDS }).await
    }

    /// The doorbells of a lost lane are rung again at once; without knowing which lane, those of all.
    async fn take_back(&self, lost: Option<LaneLost>) {
        let which = match lost {
            Some(LaneLost { model, lane }) => Undelivered::Lane { model, lane },
            None => Undelivered::Unanswered { seconds: 0.0 },
        };
        if let Err(error) = take_back(&self.backing, "lane_lost", &which).await {
            tracing::warn!(%error, "cannot take back the doorbells of a lost lane; they count as unanswered in a minute");
        }
    }

    /// Gives the lease back, so that another process leads at once.
    async fn resign(&self) {
        if self.term.is_some()
            && let Err(error) = self.backing.store.resign(DISPATCHER, self.holder).await
        {
            tracing::warn!(%error, "cannot resign; the lease ends by itself");
        }
    }
}

/// What became of one lane in one round.
struct Filled {
    model: String,
    lane: Lane,
    floor: f64,
    rang: usize,
    refused: bool,
}

/// Chooses, marks, publishes. A crash between the last two leaves doorbells that nobody answers, which are rung again.
async fn fill(backing: &Backing, term: Term, model: String, lane: Lane, room: usize, floor: Option<f64>) -> Result<Filled> {
    let claimants = backing.store.claimants(&model, lane, room.min(DOORBELLS_AT_ONCE)).await?;
    // A new leader knows nothing of who was idle: it lets all start level, rather than make the busy wait for the idle.
    let floor = floor.unwrap_or_else(|| claimants.iter().map(|claimant| claimant.served).fold(0.0, f64::max));
    let choice = fairness::choose(claimants, room.min(DOORBELLS_AT_ONCE), floor);
    let marked = backing.store.mark_dispatched(&choice, term).await?;
    let (ids, doorbells): (Vec<RequestId>, Vec<Envelope>) =
        marked.into_iter().map(|(id, traceparent)| (id, Envelope::new(id, traceparent))).unzip();
    let confirmed = if doorbells.is_empty() { Vec::new() } else { backing.queue.publish(&model, lane, &doorbells).await };
    let mut confirmed = confirmed.into_iter();
    let unconfirmed: Vec<RequestId> = ids.iter().filter(|_| !confirmed.next().unwrap_or(false)).copied().collect();
    let rang = ids.len() - unconfirmed.len();
    metrics::counter!("millrace_doorbells_total", "lane" => lane.name()).increment(rang as u64);
    let refused = !unconfirmed.is_empty();
    if refused {
        tracing::warn!(model, lane = lane.name(), doorbells = unconfirmed.len(), "the broker did not take doorbells");
        take_back(backing, "unconfirmed", &Undelivered::These(unconfirmed)).await?;
    }
    Ok(Filled { model, lane, floor: choice.floor, rang, refused })
}

async fn take_back(backing: &Backing, why: &'static str, which: &Undelivered) -> Result<()> {
    let returned = backing.store.return_dispatched(which).await?;
    if returned > 0 {
        tracing::info!(why, requests = returned, "back to the backlog");
        metrics::counter!("millrace_doorbells_taken_back_total", "why" => why).increment(returned);
    }
    Ok(())
}
