//! What every test needs: a backing of its own, a tenant, batches, a dispatcher to step, and consumers that stop with the test.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use backing::{
    Backing, Config,
    store::{Body, NewBatch, NewSingle},
};
use consumer::{EngineSettings, Loading, Role, Settings, WebhookSettings};
use domain::{
    batch::{Batch, Webhook},
    envelope::Envelope,
    fairness,
    file::{File, Purpose},
    id::{BatchId, FileId, RequestId, TenantId},
    model::Model,
    request::{Endpoint, State},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const MODEL: &str = "null";
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) backing: Backing,
    pub(crate) tenant: TenantId,
    dispatcher: Uuid,
    pub(crate) consumers: CancellationToken,
    state: TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        backing::telemetry::start_logs(false, &std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned()));
        let state = tempfile::tempdir().unwrap();
        let backing = Backing::open(&Config::embedded(state.path())).await.unwrap();
        backing.store.migrate().await.unwrap();
        let tenant = backing.store.ensure_tenant("test").await.unwrap();
        let model = Model { name: MODEL.into(), context_length: 32_768, bytes_per_token: 4.0, tokens_per_s: None, created_at: 0 };
        backing.store.register_model(&model).await.unwrap();
        Self { backing, tenant, dispatcher: Uuid::new_v4(), consumers: CancellationToken::new(), state }
    }

    pub(crate) async fn upload(&self, text: &str) -> FileId {
        let id = FileId::new();
        let key = File::key_of(self.tenant, id);
        self.backing.objects.put(&key, text.to_owned().into()).await.unwrap();
        let (purpose, filename, bytes) = (Purpose::Batch, "input.jsonl".to_owned(), text.len() as u64);
        let file = File { id, tenant: self.tenant, purpose, filename, bytes, key, created_at: 0, expires_at: None };
        self.backing.store.insert_file(&file).await.unwrap();
        id
    }

    /// Where an object lies, or the folder of all objects under a prefix.
    pub(crate) fn object_path(&self, key: &str) -> PathBuf {
        self.state.path().join("objects").join(key)
    }

    pub(crate) async fn batch_of(&self, input_file: FileId, window_seconds: u64, webhook: Option<Webhook>) -> BatchId {
        let new = NewBatch {
            id: BatchId::new(),
            tenant: self.tenant,
            endpoint: Endpoint::ChatCompletions,
            input_file,
            completion_window: format!("{window_seconds}s"),
            window_seconds,
            metadata: None,
            output_seconds: None,
            webhook,
        };
        self.backing.store.insert_batch(&new).await.unwrap().id
    }

    /// A batch of this text with a window of a day.
    pub(crate) async fn submit(&self, text: &str) -> BatchId {
        self.batch_of(self.upload(text).await, 86_400, None).await
    }

    pub(crate) async fn batch(&self, id: BatchId) -> Batch {
        self.backing.store.batch(self.tenant, id).await.unwrap().unwrap()
    }

    /// One look of a dispatcher; the producer has the real one. Returns how many doorbells rang.
    pub(crate) async fn dispatch(&self) -> usize {
        let mut rung = 0;
        let Some(term) = self.backing.store.lead("dispatch", self.dispatcher, 60.0).await.unwrap() else { return 0 };
        for (model, lane, room) in self.backing.store.dispatchable().await.unwrap() {
            let claimants = self.backing.store.claimants(&model, lane, room).await.unwrap();
            let choice = fairness::choose(claimants, room, 0.0);
            let marked = self.backing.store.mark_dispatched(&choice, term).await.unwrap();
            let envelopes: Vec<_> = marked.into_iter().map(|(id, trace)| Envelope::new(id, trace)).collect();
            rung += self.backing.queue.publish(&model, lane, &envelopes).await.len();
        }
        rung
    }

    /// A single request with this body.
    pub(crate) async fn single(&self, body: Value) -> RequestId {
        let (id, tenant, endpoint) = (RequestId::new(), self.tenant, Endpoint::Completions);
        let body = Body::Inline(body.to_string());
        let new = NewSingle { id, tenant, endpoint, model: MODEL.into(), cost: 1, body, deadline_seconds: 3600, traceparent: None };
        self.backing.store.insert_single(&new).await.unwrap();
        id
    }

    /// How many of these single requests are in this state.
    pub(crate) async fn count(&self, singles: &[RequestId], state: State) -> usize {
        let mut count = 0;
        for id in singles {
            let single = self.backing.store.single(self.tenant, *id).await.unwrap().unwrap();
            count += usize::from(single.state == state);
        }
        count
    }

    /// Starts a consumer that runs until the test ends or its token is cancelled.
    pub(crate) fn consume(&self, settings: Settings) -> (CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>) {
        let shutdown = self.consumers.child_token();
        let model = Loading::begin(&settings);
        (shutdown.clone(), tokio::spawn(consumer::run(model, self.backing.clone(), settings, shutdown)))
    }

    /// Dispatches and looks until `look` finds something.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            self.dispatch().await;
            if let Some(found) = look().await {
                return found;
            }
            assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
        }
    }

    /// The batch in its terminal state.
    pub(crate) async fn ended(&self, id: BatchId) -> Batch {
        let look = async || Some(self.batch(id).await).filter(|batch| batch.state.is_terminal());
        self.until("the batch ends", look).await
    }

    /// The lines of a result file.
    pub(crate) async fn lines(&self, file: Option<FileId>) -> Vec<Value> {
        let Some(id) = file else { return Vec::new() };
        let file = self.backing.store.file(self.tenant, id).await.unwrap().unwrap();
        let bytes = self.backing.objects.read_whole(&file.key, 0, None).await.unwrap();
        assert_eq!(bytes.len() as u64, file.bytes);
        bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.consumers.cancel();
    }
}

/// Settings with all roles and a null engine, as fast as tests want them.
pub(crate) fn settings(tokens_per_s: Option<f32>, slots: usize) -> Settings {
    let mut settings = Settings::new(EngineSettings::Null { name: MODEL.into(), tokens_per_s, slots });
    settings.lease.heartbeat = Duration::from_millis(200);
    settings.lease.lease = Duration::from_secs(5);
    settings.lease.sweep = Duration::from_millis(200);
    settings.webhook = Some(WebhookSettings { schedule_scale: 0.001, allow_http: true, ..WebhookSettings::default() });
    settings
}

pub(crate) fn roles(settings: Settings, roles: &[Role]) -> Settings {
    Settings { roles: roles.iter().copied().collect(), ..settings }
}

/// A good line; `more` are further fields of its body.
pub(crate) fn line(custom_id: &str, more: Value) -> String {
    let mut body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hello" }] });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    json!({ "custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body }).to_string() + "\n"
}

pub(crate) fn lines(count: usize, more: Value) -> String {
    (0..count).map(|n| line(&format!("line-{n}"), more.clone())).collect()
}
