//! Webhooks, received by the example receiver: verified by OpenAI's library, repeated until they arrive, never sent to private addresses.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver as Lines, channel},
    thread,
};

use serde_json::{Value, json};
use tests::{
    batches::chat_lines,
    pipeline::{Backing, Pipeline, Plan},
    servers::repository,
    waiting::{PATIENCE, eventually},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::clients::python;

crate::on_both_backings!(a_webhook_reaches_a_receiver_that_was_down_with_the_same_id, a_webhook_to_a_private_address_is_not_sent);

// 32 bytes of nothing secret.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const ALLOWED: &str = "--webhook-allow 127.0.0.0/8 --webhook-allow-http --webhook-schedule-scale 0.01";

async fn a_webhook_reaches_a_receiver_that_was_down_with_the_same_id(backing: Backing) {
    let receiver = Receiver::start(3);
    let pipeline = Plan::new(backing).webhooks(ALLOWED).start().await;
    let batch = batch_with_webhook(&pipeline, &receiver.url).await;

    let mut deliveries = Vec::new();
    while deliveries.last().is_none_or(|last: &Value| last["answered"] != 204) {
        deliveries.push(receiver.next());
    }
    assert_eq!(
        deliveries.iter().map(|delivery| delivery["answered"].as_u64()).collect::<Vec<_>>(),
        [Some(503), Some(503), Some(503), Some(204)]
    );
    let ids: BTreeSet<_> = deliveries.iter().map(|delivery| delivery["webhook_id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), 1, "every attempt carries the same webhook-id");
    for delivery in &deliveries {
        assert_eq!((&delivery["type"], &delivery["data_id"]), (&json!("batch.completed"), &json!(batch)));
        assert!(delivery["event_id"].as_str().is_some_and(|id| id.starts_with("evt_")));
    }
}

async fn a_webhook_to_a_private_address_is_not_sent(backing: Backing) {
    let receiver = Receiver::start(0);
    let pipeline = Plan::new(backing).webhooks("--webhook-allow-http --webhook-schedule-scale 0.01").start().await;
    batch_with_webhook(&pipeline, &receiver.url).await;
    eventually("several attempts have failed", PATIENCE, async || {
        let attempts =
            pipeline.number("select cast(coalesce(max(attempts), 0) as bigint) from deliveries where last_error is not null").await;
        (attempts >= 2).then_some(())
    })
    .await;
    assert!(receiver.lines.try_recv().is_err(), "a delivery reached a private address");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_killed_between_attempt_and_record_sends_again_with_the_same_id() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let mut pipeline = Plan::new(Backing::Servers).webhooks(ALLOWED).start().await;
    batch_with_webhook(&pipeline, &url).await;

    let (unanswered, first) = received(&listener).await;
    pipeline.kill_consumers();
    drop(unanswered);
    pipeline.add_consumer("");
    let (mut answered, second) = received(&listener).await;
    assert_eq!(first, second, "the same delivery");
    answered.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await.expect("the sender waits for its answer");
    eventually("the delivery is recorded", PATIENCE, async || {
        (pipeline.number("select count(*) from deliveries where state = 'delivered'").await == 1).then_some(())
    })
    .await;
}

/// The next delivery, not yet answered, and its webhook-id.
async fn received(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.expect("a delivery comes").expect("a connection");
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(timeout(PATIENCE, stream.read_buf(&mut head)).await.expect("it goes on").expect("bytes"), 0, "the sender hung up");
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let id = head.lines().find_map(|line| line.strip_prefix("webhook-id: ")).expect("every delivery has an id").to_owned();
    (stream, id)
}

async fn batch_with_webhook(pipeline: &Pipeline, url: &str) -> String {
    let file = pipeline.client.upload(chat_lines(3)).await;
    let batch = pipeline.client.create_batch(&file, json!({ "webhook": { "url": url, "secret": SECRET } })).await;
    assert_eq!(pipeline.client.ended_batch(&batch).await["status"], "completed");
    batch
}

/// The receiver from the examples.
struct Receiver {
    process: Child,
    url: String,
    lines: Lines<Value>,
}

impl Receiver {
    fn start(fail_first: u32) -> Self {
        let mut command = Command::new(python());
        command.arg(repository("examples/webhook_receiver.py"));
        command.args(["--port", "0", "--secret", SECRET, "--fail-first", &fail_first.to_string()]);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the receiver starts");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let parsed = serde_json::from_str(&line).expect("the receiver prints JSON");
                if sender.send(parsed).is_err() {
                    return;
                }
            }
        });
        let mut receiver = Self { process, url: String::new(), lines };
        receiver.url = receiver.next()["listening"].as_str().expect("its address").to_owned();
        receiver
    }

    fn next(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("a line of the receiver")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
