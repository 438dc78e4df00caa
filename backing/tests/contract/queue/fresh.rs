//! Queues that nobody else uses, and short words for what every test does with them.

use std::time::Duration;

use backing::queue::{Doorbell, Doorbells, LaneLost, Queue};
use domain::{envelope::Envelope, id::RequestId, request::Lane};
use tokio::{sync::broadcast, time::timeout};
use uuid::Uuid;

/// Longer than any recovery may take, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Runs a test over both sides.
macro_rules! on_both {
    ($($(#[$attribute:meta])* async fn $name:ident($queue:ident: Queue) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$attribute])*
            async fn contract($queue: backing::queue::Queue) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_process() {
                contract(crate::queue::fresh::local()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_rabbitmq() {
                if let Some(queue) = crate::queue::fresh::rabbit() {
                    contract(queue).await;
                }
            }
        }
    )*};
}
pub(super) use on_both;

pub(crate) fn local() -> Queue {
    Queue::open("local:", "unused").unwrap()
}

/// `None` where there is no broker to test with, which must not happen in CI.
pub(crate) fn rabbit() -> Option<Queue> {
    let url = shared_url()?;
    Some(Queue::open(&url, &fresh_prefix()).unwrap())
}

pub(crate) fn shared_url() -> Option<String> {
    let url = std::env::var("MILLRACE_TEST_AMQP_URL").ok();
    if url.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "MILLRACE_TEST_AMQP_URL is not set");
        eprintln!("not tested on RabbitMQ: MILLRACE_TEST_AMQP_URL is not set");
    }
    url
}

pub(crate) fn fresh_prefix() -> String {
    format!("contract-{}", Uuid::new_v4().simple())
}

pub(crate) fn envelopes(count: usize) -> Vec<Envelope> {
    (0..count).map(|_| Envelope::new(RequestId::new(), None)).collect()
}

/// Publishes until the broker has confirmed each.
pub(crate) async fn ring(queue: &Queue, model: &str, lane: Lane, envelopes: &[Envelope]) {
    let ringing = async {
        let mut waiting = envelopes.to_vec();
        while !waiting.is_empty() {
            let confirmed = queue.publish(model, lane, &waiting).await;
            assert_eq!(confirmed.len(), waiting.len());
            let mut confirmed = confirmed.into_iter();
            waiting.retain(|_| confirmed.next() == Some(false));
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ringing).await.expect("the queue takes what is published");
}

/// The next `count` doorbells, unanswered.
pub(crate) async fn hear(doorbells: &mut Doorbells, count: usize) -> Vec<Doorbell> {
    let mut heard = Vec::new();
    let hearing = async {
        while heard.len() < count {
            heard.extend(doorbells.next(count - heard.len()).await);
        }
    };
    if timeout(PATIENCE, hearing).await.is_err() {
        panic!("{} of {count} doorbells came", heard.len());
    }
    heard
}

/// Answers doorbells until each of these has rung at least once.
pub(crate) async fn hear_all(doorbells: &mut Doorbells, mut wanted: Vec<Envelope>) {
    let hearing = async {
        while !wanted.is_empty() {
            let heard = doorbells.next(64).await;
            wanted.retain(|envelope| heard.iter().all(|doorbell| doorbell.envelope != *envelope));
            doorbells.ack(heard).await;
        }
    };
    if timeout(PATIENCE, hearing).await.is_err() {
        panic!("{} doorbells never came", wanted.len());
    }
}

/// Whether nothing more comes, for as long as it takes to say so with some certainty.
pub(crate) async fn is_silent(doorbells: &mut Doorbells) -> bool {
    timeout(Duration::from_millis(700), doorbells.next(1)).await.is_err()
}

pub(crate) async fn hear_of_loss(lost: &mut broadcast::Receiver<LaneLost>, model: &str, lane: Lane) {
    let wanted = LaneLost { model: model.to_owned(), lane };
    let hearing = async { while lost.recv().await.unwrap() != wanted {} };
    timeout(PATIENCE, hearing).await.expect("a lost lane is announced");
}

pub(crate) fn rung(doorbells: &[Doorbell]) -> Vec<Envelope> {
    doorbells.iter().map(|doorbell| doorbell.envelope.clone()).collect()
}
