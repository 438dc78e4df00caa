//! What others do to our queues: operators who delete them, programs that write to them, settings that cannot work.

use backing::{Error, queue::Queue};
use domain::request::Lane::{Batch, Interactive};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::fresh::{envelopes, fresh_prefix, hear, hear_all, hear_of_loss, is_silent, ring, shared_url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_declared_again_and_the_loss_is_announced() {
    let Some(url) = shared_url() else { return };
    let prefix = fresh_prefix();
    let queue = Queue::open(&url, &prefix).unwrap();
    let mut doorbells = queue.subscribe("nano", 4);
    ring(&queue, "nano", Interactive, &envelopes(1)).await;
    let heard = hear(&mut doorbells, 1).await;
    doorbells.ack(heard).await;
    let mut lost = queue.lost_lanes();
    while lost.try_recv().is_ok() {}
    let (_connection, channel) = stranger(&url).await;
    channel.queue_delete(format!("{prefix}.nano.interactive").into(), Default::default()).await.unwrap();
    hear_of_loss(&mut lost, "nano", Interactive).await;
    let again = envelopes(2);
    ring(&queue, "nano", Interactive, &again).await;
    hear_all(&mut doorbells, again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_a_missing_queue_is_not_taken_for_delivered() {
    let Some(url) = shared_url() else { return };
    let prefix = fresh_prefix();
    let queue = Queue::open(&url, &prefix).unwrap();
    ring(&queue, "nano", Batch, &envelopes(1)).await;
    let (_connection, channel) = stranger(&url).await;
    channel.queue_delete(format!("{prefix}.nano.batch").into(), Default::default()).await.unwrap();
    // The broker acknowledges these, and returns them.
    assert_eq!(queue.publish("nano", Batch, &envelopes(3)).await, [false; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_no_doorbell_is_dropped() {
    let Some(url) = shared_url() else { return };
    let prefix = fresh_prefix();
    let queue = Queue::open(&url, &prefix).unwrap();
    let mut doorbells = queue.subscribe("nano", 1);
    ring(&queue, "nano", Batch, &envelopes(1)).await;
    let heard = hear(&mut doorbells, 1).await;
    doorbells.ack(heard).await;
    let (_connection, channel) = stranger(&url).await;
    for body in ["", "{}", r#"{"v":"2"}"#] {
        let name = format!("{prefix}.nano.batch");
        channel.basic_publish("".into(), name.into(), Default::default(), body.as_bytes(), BasicProperties::default()).await.unwrap();
    }
    let next = envelopes(1);
    ring(&queue, "nano", Batch, &next).await;
    hear_all(&mut doorbells, next).await;
    assert!(is_silent(&mut doorbells).await);
}

#[test]
fn settings_that_can_never_work_are_refused_without_repeating_a_password() {
    let cases =
        [("", "p"), ("http://x", "p"), ("amqp://u:hush@[", "p"), ("amqp://u:hush@h", ""), ("amqp://h", "amq.x"), ("amqp://h", "a b")];
    for (url, prefix) in cases {
        let Err(Error::Config(text)) = Queue::open(url, prefix) else { panic!("{url} {prefix}") };
        assert!(!text.contains("hush"), "{text}");
    }
}

async fn stranger(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}
