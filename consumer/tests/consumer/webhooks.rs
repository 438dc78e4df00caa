//! Webhooks to a receiver on this machine: repeated until they arrive, never sent where they must not go, one receiver beside the other.

use std::time::Duration;

use backing::store::Delivery;
use base64::{Engine, engine::general_purpose::STANDARD};
use consumer::{Role, WebhookSettings, deliver::webhooks::Courier};
use domain::batch::{State, Webhook};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::bench::{Bench, lines, roles, settings};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A delivery as it came in.
#[derive(Debug)]
struct Received {
    headers: Vec<(String, String)>,
    body: String,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(other, _)| other == name).unwrap().1
    }

    fn is_signed(&self) -> bool {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"0123456789abcdef0123456789abcdef").unwrap();
        mac.update(format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body).as_bytes());
        self.header("webhook-signature") == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A receiver that gives these answers, one after the other, the last one again and again; without answers it stays silent.
async fn receiver(answers: &'static [&'static str]) -> (String, mpsc::UnboundedReceiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            if sender.send(read(&mut stream).await).is_err() {
                return;
            }
            match answers.get(turn).or(answers.last()) {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => silent.push(stream),
            }
        }
    });
    (url, received)
}

async fn read(stream: &mut TcpStream) -> Received {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let split = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let received = Received { headers: head.lines().filter_map(split).collect(), body: body.to_owned() };
        if received.body.len() >= received.header("content-length").parse().unwrap() {
            return received;
        }
    }
}

fn loopback() -> WebhookSettings {
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    WebhookSettings { allow, allow_http: true, schedule_scale: 0.001, ..WebhookSettings::default() }
}

/// A batch that is refused at once, which is an event, too.
async fn event_for(bench: &Bench, url: &str) {
    let webhook = Webhook { url: url.to_owned(), secret: Some(SECRET.to_owned()) };
    bench.batch_of(bench.upload("nonsense").await, 60, Some(webhook)).await;
    let limits = domain::limits::Limits::default();
    consumer::ingest::ingest_once(&bench.backing, &limits, &consumer::LeaseSettings::default()).await.unwrap();
}

async fn pending(bench: &Bench) -> Option<f64> {
    bench.backing.store.next_delivery_in().await.unwrap()
}

/// Sends what is due until nothing is pending any more.
async fn settle(bench: &Bench, courier: &mut Courier) {
    bench
        .until("all deliveries have ended", async || {
            courier.deliver_once().await.unwrap();
            courier.arrive().await;
            pending(bench).await.is_none().then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_gets_the_event_with_the_same_id_and_a_good_signature() {
    let bench = Bench::new().await;
    let (url, mut received) =
        receiver(&["HTTP/1.1 503 Down\r\n\r\n", "HTTP/1.1 301 Moved\r\nlocation: /elsewhere\r\n\r\n", "HTTP/1.1 204 Yes\r\n\r\n"]).await;
    bench.consume({
        let mut settings = roles(settings(None, 4), &Role::ALL);
        settings.webhook = Some(loopback());
        settings
    });
    let webhook = Webhook { url, secret: Some(SECRET.into()) };
    let batch = bench.batch_of(bench.upload(&lines(3, json!({}))).await, 86_400, Some(webhook)).await;
    assert_eq!(bench.ended(batch).await.state, State::Completed);

    let mut ids = Vec::new();
    for _ in 0..3 {
        let delivery = received.recv().await.unwrap();
        assert!(delivery.is_signed());
        let event: Value = serde_json::from_str(&delivery.body).unwrap();
        assert_eq!((&event["type"], &event["data"]["id"]), (&json!("batch.completed"), &json!(batch)));
        ids.push(delivery.header("webhook-id").to_owned());
    }
    assert!(ids.iter().all(|id| *id == ids[0] && id.starts_with("wh_")), "{ids:?}");
    bench.until("the delivery is recorded", async || pending(&bench).await.is_none().then_some(())).await;
    assert!(received.try_recv().is_err(), "delivered again after a success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_asked_once_and_one_that_never_works_eleven_times() {
    let bench = Bench::new().await;
    let (gone, mut at_gone) = receiver(&["HTTP/1.1 410 Gone\r\n\r\n"]).await;
    let (broken, mut at_broken) = receiver(&["HTTP/1.1 500 Broken\r\n\r\n"]).await;
    event_for(&bench, &gone).await;
    event_for(&bench, &broken).await;
    // The whole schedule in about a quarter of a second.
    let mut courier = Courier::new(bench.backing.store.clone(), &WebhookSettings { schedule_scale: 1e-6, ..loopback() }).unwrap();
    settle(&bench, &mut courier).await;
    let count = |received: &mut mpsc::UnboundedReceiver<Received>| std::iter::from_fn(|| received.try_recv().ok()).count();
    assert_eq!((count(&mut at_gone), count(&mut at_broken)), (1, 11));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_not_dialled_by_number_or_by_name() {
    let bench = Bench::new().await;
    let (url, mut received) = receiver(&["HTTP/1.1 204 Yes\r\n\r\n"]).await;
    let port = url.rsplit(':').next().unwrap().trim_end_matches("/hook").to_owned();
    event_for(&bench, &url).await;
    event_for(&bench, &format!("http://localhost:{port}/")).await;
    event_for(&bench, &format!("http://[::ffff:127.0.0.1]:{port}/")).await;
    let closed = WebhookSettings { allow: Vec::new(), ports: vec![port.parse().unwrap()], schedule_scale: 1e-6, ..loopback() };
    let mut courier = Courier::new(bench.backing.store.clone(), &closed).unwrap();
    settle(&bench, &mut courier).await;
    assert!(received.try_recv().is_err(), "a private address was dialled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_receiver_does_not_hold_up_another_and_is_tried_again_after_a_crash() {
    let bench = Bench::new().await;
    let (silent, mut at_silent) = receiver(&[]).await;
    let (quick, mut at_quick) = receiver(&["HTTP/1.1 204 Yes\r\n\r\n"]).await;
    for _ in 0..50 {
        event_for(&bench, &silent).await;
    }
    event_for(&bench, &quick).await;
    let mut courier = Courier::new(bench.backing.store.clone(), &loopback()).unwrap();
    courier.deliver_once().await.unwrap();
    let delivered = tokio::time::timeout(Duration::from_secs(10), at_quick.recv()).await.unwrap().unwrap();
    assert!(delivered.is_signed());

    // The sender dies between attempt and record: the delivery is still pending, with the attempt uncounted.
    at_silent.recv().await.unwrap();
    drop(courier);
    assert!(pending(&bench).await.is_some());
    let mut taken: Vec<Delivery> = Vec::new();
    bench
        .until("the deliveries are due again", async || {
            taken.extend(bench.backing.store.take_deliveries(100, 600.0).await.unwrap());
            (taken.len() >= 50).then_some(())
        })
        .await;
    assert!(taken.iter().all(|delivery| delivery.attempts == 0));
}
