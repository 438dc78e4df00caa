//! A producer on a free port with a state folder of its own, and what tests do to it.

use std::path::PathBuf;

use backing::{
    Backing, Config,
    queue::Doorbells,
    shutdown::Shutdown,
    store::{Claimed, Ended, Worker},
};
use domain::{
    answer::{Answer, Choice, Outcome},
    id::{TenantId, WorkerId},
    model::Model,
};
use producer::Settings;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinHandle};

pub(crate) const MODEL: &str = "org/tiny";

/// A running producer. Stops when it is dropped.
pub(crate) struct App {
    pub(crate) backing: Backing,
    pub(crate) tenant: TenantId,
    pub(crate) address: String,
    pub(crate) objects: PathBuf,
    client: reqwest::Client,
    shutdown: Shutdown,
    task: Option<JoinHandle<anyhow::Result<()>>>,
    _state: tempfile::TempDir,
}

impl App {
    /// A producer that needs no key.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A producer with other settings than the usual ones.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let state = tempfile::tempdir().unwrap();
        let backing = Backing::open(&Config::embedded(state.path())).await.unwrap();
        backing.store.migrate().await.unwrap();
        let tenant = backing.store.ensure_tenant("tester").await.unwrap();
        let model = Model { name: MODEL.into(), context_length: 4096, bytes_per_token: 4.0, tokens_per_s: None, created_at: 0 };
        backing.store.register_model(&model).await.unwrap();

        let mut settings = Settings { open_tenant: Some(tenant), ..Settings::default() };
        change(&mut settings);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = Shutdown::new();
        let task = Some(tokio::spawn(producer::run(listener, backing.clone(), settings, shutdown.clone())));
        let objects = state.path().join("objects");
        Self { backing, tenant, address, objects, client: reqwest::Client::new(), shutdown, task, _state: state }
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.call(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.call(Method::POST, path).json(body).send().await.unwrap()
    }

    /// Uploads a batch file and returns its object.
    pub(crate) async fn upload(&self, bytes: &str) -> Value {
        let form = Form::new().field("purpose", "batch").file("input.jsonl", bytes);
        json_of(form.send(self).await, 200).await
    }

    /// Creates a batch over a fresh file.
    pub(crate) async fn create_batch(&self, file: &str) -> Value {
        let order = json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
        json_of(self.post("/v1/batches", &order).await, 200).await
    }

    /// Sends the beginning of a call over a connection of its own.
    pub(crate) async fn begin(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// A stand-in for a worker of the model.
    pub(crate) async fn worker(&self) -> StandIn {
        let id = WorkerId::new();
        let doorbells = self.backing.queue.subscribe(MODEL, 16);
        self.backing.store.register_worker(&Worker { id, model: Some(MODEL.into()), slots: 16 }, 600.0).await.unwrap();
        StandIn { backing: self.backing.clone(), id, doorbells }
    }

    /// Tells the producer to stop; running calls go on.
    pub(crate) fn begin_to_stop(&self) {
        self.shutdown.cancel();
    }

    /// Tells the producer to stop and waits until it has.
    pub(crate) async fn stop(mut self) {
        self.begin_to_stop();
        self.task.take().unwrap().await.unwrap().unwrap();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Takes requests the way a worker does, and gives the answers that a test wants.
pub(crate) struct StandIn {
    backing: Backing,
    id: WorkerId,
    doorbells: Doorbells,
}

impl StandIn {
    /// Waits for a doorbell and claims its request.
    pub(crate) async fn claim(&mut self) -> Claimed {
        loop {
            let rung = self.doorbells.next(1).await;
            let ids: Vec<_> = rung.iter().map(|doorbell| doorbell.envelope.request()).collect();
            let claimed = self.backing.store.claim(self.id, &ids).await.unwrap();
            self.doorbells.ack(rung).await;
            if let Some(claimed) = claimed.into_iter().next() {
                return claimed;
            }
        }
    }

    /// Answers a request with a text.
    pub(crate) async fn answer(&self, claimed: &Claimed, text: &str) {
        let answer = Answer { choices: vec![Choice { text: text.into(), ..Choice::default() }], ..Answer::default() };
        self.finish(claimed, Outcome::answered(claimed.id, claimed.endpoint, &claimed.model, 7, false, &answer)).await;
    }

    pub(crate) async fn finish(&self, claimed: &Claimed, outcome: Outcome) {
        let ended = Ended { id: claimed.id, epoch: claimed.epoch, outcome, key: None };
        let report = self.backing.store.finish(self.id, &[ended]).await.unwrap();
        assert_eq!(report.won, 1);
    }
}

/// A multipart form in exactly the order in which it is put together.
pub(crate) struct Form(String);

impl Form {
    pub(crate) const TYPE: &str = "multipart/form-data; boundary=xyz";

    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.0.push_str(&format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
        self
    }

    pub(crate) fn file(mut self, filename: &str, bytes: &str) -> Self {
        let disposition = format!("form-data; name=\"file\"; filename=\"{filename}\"");
        self.0
            .push_str(&format!("--xyz\r\nContent-Disposition: {disposition}\r\nContent-Type: application/octet-stream\r\n\r\n{bytes}\r\n"));
        self
    }

    /// The bytes of the form; unfinished ones lack the last boundary.
    pub(crate) fn unfinished(self) -> String {
        self.0
    }

    pub(crate) async fn send(self, app: &App) -> Response {
        app.call(Method::POST, "/v1/files").header("content-type", Self::TYPE).body(self.0 + "--xyz--\r\n").send().await.unwrap()
    }
}

/// The body of an answer that must have a status.
pub(crate) async fn json_of(response: Response, status: u16) -> Value {
    let found = response.status().as_u16();
    let text = response.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A small chat.
pub(crate) fn chat() -> Value {
    json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hi" }] })
}
