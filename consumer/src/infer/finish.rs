//! Results become final: everything that has ended since the last commit shares the next one, and as long as nobody waits for it, a
//! commit waits for more. The store decides whether a result still counts; what it refuses (a late or second result) is counted here
//! and changes nothing.

use std::time::Duration;

use anyhow::bail;
use backing::{
    Backing,
    store::{Ended, FinishReport},
};
use bytes::Bytes;
use chrono::Utc;
use domain::{
    answer::{Answer, Outcome},
    error::ApiError,
    id::{RequestId, WorkerId},
    limits::INLINE_BYTES_MAX,
};
use futures::future;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    claims::{Claim, Claims},
    inference::Event,
};
use crate::turn::backoff;

/// Results that share one transaction at most.
const GROUP_MAX: usize = 256;
/// From one commit to the next while others are still being computed: commits take processor time from the engine.
const PACE: Duration = Duration::from_millis(50);
/// A store that is away for longer than all these tries has given our claims to others by then.
const TRIES: u32 = 6;

/// What shares the next commit.
#[derive(Default)]
struct Group {
    ended: Vec<(Claim, Result<Answer, ApiError>)>,
    withdrawn: Vec<Claim>,
    /// Nothing follows.
    cleared: bool,
}

pub(super) struct Finish {
    backing: Backing,
    worker: WorkerId,
    model: String,
    claims: Claims,
    fenced: CancellationToken,
}

impl Finish {
    pub(super) fn new(backing: Backing, worker: WorkerId, model: String, claims: Claims, fenced: CancellationToken) -> Self {
        Self { backing, worker, model, claims, fenced }
    }

    /// Stores what ends, until the engine has been cleared. Fails if the engine stops by itself.
    pub(super) async fn run(&self, events: &mut mpsc::Receiver<Event>) -> anyhow::Result<()> {
        let mut cleared = false;
        let mut next_commit = Instant::now();
        while !cleared {
            let mut group = Group::default();
            self.take(events, &mut group).await?;
            while self.can_wait(&group)
                && let Ok(taken) = timeout_at(next_commit, self.take(events, &mut group)).await
            {
                taken?;
            }
            next_commit = Instant::now() + PACE;
            cleared = group.cleared;
            self.commit(group.ended).await;
            self.give_back(group.withdrawn).await;
        }
        Ok(())
    }

    /// Waits for events, and takes their claims.
    async fn take(&self, events: &mut mpsc::Receiver<Event>, group: &mut Group) -> anyhow::Result<()> {
        let mut arrived = Vec::with_capacity(GROUP_MAX);
        if events.recv_many(&mut arrived, GROUP_MAX - group.ended.len()).await == 0 {
            bail!("the engine has stopped");
        }
        for event in arrived {
            match event {
                Event::Ended(ticket, outcome) => group.ended.extend(self.claims.take(ticket).map(|claim| (claim, outcome))),
                Event::Withdrawn(ticket) => group.withdrawn.extend(self.claims.take(ticket)),
                Event::Cleared => group.cleared = true,
            }
        }
        Ok(())
    }

    /// Whether more is to come, and the engine has enough to do until then.
    fn can_wait(&self, group: &Group) -> bool {
        let full = group.ended.len() == GROUP_MAX;
        !full && group.withdrawn.is_empty() && !group.cleared && self.claims.suffice()
    }

    /// Stores results and frees their places.
    pub(super) async fn commit(&self, ended: Vec<(Claim, Result<Answer, ApiError>)>) {
        let (large, small): (Vec<_>, Vec<_>) =
            ended.into_iter().map(|(claim, outcome)| self.result(claim, outcome)).partition(|(_, ended)| ended.key.is_some());
        self.commit_group(small).await;
        let (stored, unstored): (Vec<_>, Vec<_>) =
            future::join_all(large.into_iter().map(|large| self.put(large))).await.into_iter().partition(|(_, stored)| *stored);
        self.commit_group(stored.into_iter().map(|(large, _)| large).collect()).await;
        self.give_back(unstored.into_iter().map(|((claim, _), _)| claim).collect()).await;
    }

    fn result(&self, claim: Claim, outcome: Result<Answer, ApiError>) -> (Claim, Ended) {
        let request = &claim.request;
        let outcome = match outcome {
            Ok(answer) => {
                let created = Utc::now().timestamp();
                Outcome::answered(request.id, request.endpoint, &self.model, created, claim.return_token_ids, &answer)
            }
            Err(error) => Outcome::refused(&error),
        };
        let key = (outcome.body.len() > INLINE_BYTES_MAX).then(|| result_key(request.id, request.epoch));
        tracing::debug!(
            request = %request.id, epoch = request.epoch, trace = request.traceparent, status = outcome.status,
            tokens = outcome.usage.completion, seconds = claim.since.elapsed().as_secs_f64(), "request ended"
        );
        let ended = Ended { id: request.id, epoch: request.epoch, outcome, key };
        (claim, ended)
    }

    /// Moves a large result to the object store. Its name holds the epoch, so that a zombie cannot overwrite the winner.
    async fn put(&self, (claim, mut ended): (Claim, Ended)) -> ((Claim, Ended), bool) {
        let Some(key) = ended.key.clone() else { return ((claim, ended), true) };
        let body = Bytes::from(std::mem::take(&mut ended.outcome.body));
        for tries in 0..TRIES {
            match self.backing.objects.put(&key, body.clone()).await {
                Ok(()) => return ((claim, ended), true),
                Err(error) => tracing::warn!(request = %ended.id, "cannot store a large result: {error}"),
            }
            tokio::time::sleep(backoff(tries)).await;
        }
        ((claim, ended), false)
    }

    /// One transaction. Its outcome may stay unknown, so it is repeated: what was stored the first time is refused the second.
    async fn commit_group(&self, group: Vec<(Claim, Ended)>) {
        if group.is_empty() {
            return;
        }
        let (claims, ended): (Vec<Claim>, Vec<Ended>) = group.into_iter().unzip();
        for tries in 0..TRIES {
            match self.backing.store.finish(self.worker, &ended).await {
                Ok(report) => return self.account(&claims, &ended, &report).await,
                Err(error) => tracing::warn!(results = ended.len(), "cannot store results: {error}"),
            }
            if self.fenced.is_cancelled() {
                return;
            }
            tokio::time::sleep(backoff(tries)).await;
        }
        // Without these results the claims would stay ours for ever: better to let all of them go.
        self.fenced.cancel();
    }

    async fn account(&self, claims: &[Claim], ended: &[Ended], report: &FinishReport) {
        metrics::counter!("millrace_results_total").increment(report.won as u64);
        metrics::counter!("millrace_fenced_total").increment(report.fenced.len() as u64);
        for (claim, ended) in claims.iter().zip(ended) {
            if !report.fenced.contains(&ended.id) {
                metrics::counter!("millrace_prompt_tokens_total").increment(ended.outcome.usage.prompt);
                metrics::counter!("millrace_generation_tokens_total").increment(ended.outcome.usage.completion);
                metrics::histogram!("millrace_request_inference_time_seconds").record(claim.since.elapsed().as_secs_f64());
                continue;
            }
            tracing::info!(request = %ended.id, epoch = ended.epoch, "result came too late: fenced");
            if let Some(key) = &ended.key
                && let Err(error) = self.backing.objects.delete(key).await
            {
                tracing::warn!(key, "cannot remove a fenced result: {error}");
            }
        }
    }

    /// Returns claims to the backlog without counting the attempt.
    pub(super) async fn give_back(&self, claims: Vec<Claim>) {
        let released: Vec<(RequestId, i32)> = claims.iter().map(|claim| (claim.request.id, claim.request.epoch)).collect();
        if released.is_empty() {
            return;
        }
        for tries in 0..TRIES {
            match self.backing.store.release(self.worker, &released).await {
                Ok(count) => return tracing::info!(count, "claims given back"),
                Err(error) => tracing::warn!(claims = released.len(), "cannot give claims back: {error}"),
            }
            if self.fenced.is_cancelled() {
                return;
            }
            tokio::time::sleep(backoff(tries)).await;
        }
        self.fenced.cancel();
    }
}

fn result_key(id: RequestId, epoch: i32) -> String {
    format!("results/{id}/{epoch}")
}

/// Time that [`Finish`] may need for the last group of a worker's life.
pub(super) const LAST_COMMIT: Duration = Duration::from_secs(5);
