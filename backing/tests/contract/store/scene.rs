//! What most tests begin with: a tenant, a model, a worker, a batch in progress.

use std::time::Duration;

use backing::store::{Body, Change, Changes, Claimed, DISPATCHER, Ended, NewBatch, NewLine, NewSingle, Phase, Store, Term, Worker};
use domain::{
    answer::Outcome,
    batch::{Batch, Webhook},
    error::ApiError,
    fairness,
    file::{File, Purpose},
    id::{BatchId, FileId, RequestId, TenantId, WorkerId},
    model::Model,
    request::{Endpoint, Lane, State},
    usage::Usage,
};
use uuid::Uuid;

pub(crate) const MODEL: &str = "nano";
const LONG: f64 = 600.0;

/// A store with a tenant, a model and a dispatcher who leads.
pub(crate) struct Scene<'a> {
    pub(crate) store: &'a Store,
    pub(crate) tenant: TenantId,
    pub(crate) term: Term,
}

impl<'a> Scene<'a> {
    pub(crate) async fn new(store: &'a Store) -> Self {
        let tenant = store.ensure_tenant("acme").await.unwrap();
        let model = Model { name: MODEL.into(), context_length: 4096, bytes_per_token: 3.5, tokens_per_s: None, created_at: 0 };
        store.register_model(&model).await.unwrap();
        let term = store.lead(DISPATCHER, Uuid::new_v4(), LONG).await.unwrap().unwrap();
        Self { store, tenant, term }
    }

    pub(crate) async fn worker(&self, slots: u32) -> WorkerId {
        let worker = Worker { id: WorkerId::new(), model: Some(MODEL.into()), slots };
        self.store.register_worker(&worker, LONG).await.unwrap();
        worker.id
    }

    pub(crate) fn file_of(&self, tenant: TenantId) -> File {
        let id = FileId::new();
        let (filename, key) = ("input.jsonl".to_owned(), File::key_of(tenant, id));
        File { id, tenant, purpose: Purpose::Batch, filename, bytes: 1000, key, created_at: 1_700_000_000, expires_at: None }
    }

    pub(crate) async fn file(&self) -> File {
        let file = self.file_of(self.tenant);
        self.store.insert_file(&file).await.unwrap();
        file
    }

    pub(crate) async fn new_batch(&self, window_seconds: u64, webhook: Option<Webhook>) -> NewBatch {
        NewBatch {
            id: BatchId::new(),
            tenant: self.tenant,
            endpoint: Endpoint::ChatCompletions,
            input_file: self.file().await.id,
            completion_window: format!("{window_seconds}s"),
            window_seconds,
            metadata: Some(serde_json::json!({ "night": "shift" })),
            output_seconds: Some(3600),
            webhook,
        }
    }

    /// A batch in `validating`, held under the term that comes with it.
    pub(crate) async fn validating(&self, window_seconds: u64, webhook: Option<Webhook>) -> (Batch, Term) {
        let new = self.new_batch(window_seconds, webhook).await;
        self.store.insert_batch(&new).await.unwrap();
        let (batch, _, term) = self.store.take_batch(Phase::Validate, LONG).await.unwrap().unwrap();
        assert_eq!(batch.id, new.id);
        (batch, term)
    }

    /// A batch whose lines can be dispatched.
    pub(crate) async fn started(&self, lines: u64, window_seconds: u64) -> Batch {
        self.started_with(lines, window_seconds, None).await
    }

    pub(crate) async fn started_with(&self, lines: u64, window_seconds: u64, webhook: Option<Webhook>) -> Batch {
        let (batch, term) = self.validating(window_seconds, webhook).await;
        assert!(self.store.insert_lines(&batch, term, &new_lines(lines)).await.unwrap());
        assert!(self.store.start_batch(batch.id, term, lines, Some(MODEL)).await.unwrap());
        self.batch(batch.id).await
    }

    pub(crate) async fn batch(&self, id: BatchId) -> Batch {
        self.store.batch(self.tenant, id).await.unwrap().unwrap()
    }

    pub(crate) async fn single(&self, deadline_seconds: u64) -> RequestId {
        let new = NewSingle {
            id: RequestId::new(),
            tenant: self.tenant,
            endpoint: Endpoint::ChatCompletions,
            model: MODEL.into(),
            cost: 100,
            body: Body::Inline(r#"{"a":"ü\u0000"}"#.into()),
            deadline_seconds,
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        };
        self.store.insert_single(&new).await.unwrap();
        new.id
    }

    /// What the dispatcher does in one round.
    pub(crate) async fn dispatch(&self, lane: Lane, room: usize) -> Vec<RequestId> {
        let claimants = self.store.claimants(MODEL, lane, room).await.unwrap();
        let choice = fairness::choose(claimants, room, 0.0);
        let marked = self.store.mark_dispatched(&choice, self.term).await.unwrap();
        marked.into_iter().map(|(id, _)| id).collect()
    }

    /// Dispatches and claims.
    pub(crate) async fn claim(&self, worker: WorkerId, lane: Lane, room: usize) -> Vec<Claimed> {
        let ids = self.dispatch(lane, room).await;
        self.store.claim(worker, &ids).await.unwrap()
    }
}

/// Lines 1 to `count`.
pub(crate) fn new_lines(count: u64) -> Vec<NewLine> {
    (1..=count)
        .map(|line| NewLine {
            line,
            custom_id: format!("line-{line}"),
            model: MODEL.into(),
            cost: 10,
            body_offset: line * 100,
            body_bytes: 90,
        })
        .collect()
}

/// An answer with 7 + 3 tokens.
pub(crate) fn answered(claim: &Claimed) -> Ended {
    let usage = Usage { prompt: 7, cached: 2, completion: 3, reasoning: 1 };
    let outcome = Outcome { state: State::Succeeded, status: 200, body: r#"{"choices":[]}"#.into(), usage };
    Ended { id: claim.id, epoch: claim.epoch, outcome, key: None }
}

/// A refusal.
pub(crate) fn refused(claim: &Claimed) -> Ended {
    let outcome = Outcome::refused(&ApiError::invalid("context_length_exceeded", "too long"));
    Ended { id: claim.id, epoch: claim.epoch, outcome, key: None }
}

/// The ids and epochs of claims.
pub(crate) fn names(claims: &[Claimed]) -> Vec<(RequestId, i32)> {
    claims.iter().map(|claim| (claim.id, claim.epoch)).collect()
}

/// Reads on until a change comes; fails the test if it never does.
pub(crate) async fn hear(changes: &mut Changes, wanted: Change) {
    let heard = async { while changes.next().await != wanted {} };
    tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap_or_else(|_| panic!("never heard of {wanted:?}"));
}
