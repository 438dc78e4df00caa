//! What a broker may do at any moment. Each test has one of its own.

use std::time::{Duration, Instant};

use backing::queue::Queue;
use domain::request::Lane::{Batch, Interactive};

use super::{
    broker::{Broker, signal},
    fresh::{PATIENCE, envelopes, hear, hear_all, hear_of_loss, is_silent, ring, rung},
};

/// From the moment at which a broker is back.
const FLOWS_AGAIN_WITHIN: Duration = Duration::from_secs(30);

/// Connections that a queue holds: one to publish, one to consume.
const LINES: usize = 2;

const PUBLISH_BOUND: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_within_a_second_of_declaring_gets_a_new_queue_and_the_loss_is_announced() {
    let Some(broker) = Broker::start() else { return };
    let queue = Queue::open(&broker.url, "faults").unwrap();
    let (pid, early) = (broker.pid(), envelopes(10));
    ring(&queue, "nano", Batch, &early).await;
    signal(&pid, "KILL");
    broker.kill();
    let mut lost = queue.lost_lanes();
    while lost.try_recv().is_ok() {}
    let mut doorbells = queue.subscribe("nano", 16);
    broker.revive();
    let back = Instant::now();
    // Not every broker loses the messages; but then they ring.
    tokio::select! {
        () = hear_of_loss(&mut lost, "nano", Batch) => eprintln!("the queue was replaced"),
        () = hear_all(&mut doorbells, early) => eprintln!("the queue survived"),
    }
    let again = envelopes(10);
    ring(&queue, "nano", Batch, &again).await;
    hear_all(&mut doorbells, again).await;
    eprintln!("work flows {:?} after the broker is back", back.elapsed());
    assert!(back.elapsed() < FLOWS_AGAIN_WITHIN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_keeps_what_it_confirmed_and_the_look_ahead_holds_after_it() {
    let Some(broker) = Broker::start() else { return };
    let queue = Queue::open(&broker.url, "faults").unwrap();
    let mut doorbells = queue.subscribe("nano", 4);
    let early = envelopes(1);
    ring(&queue, "nano", Batch, &early).await;
    let heard = hear(&mut doorbells, 1).await;
    doorbells.ack(heard).await;
    // A queue that is not yet wholly on the disk would not survive, which is the test above. An orderly stop puts it there.
    broker.stop();
    broker.revive();
    let all = envelopes(40);
    ring(&queue, "nano", Batch, &all).await;
    let held = hear(&mut doorbells, 4).await;
    broker.kill();
    assert_eq!(queue.publish("nano", Batch, &envelopes(1)).await, [false]);
    broker.revive();
    let back = Instant::now();
    let first = hear(&mut doorbells, 4).await;
    eprintln!("doorbells ring {:?} after the broker is back", back.elapsed());
    assert!(back.elapsed() < FLOWS_AGAIN_WITHIN);
    assert!(is_silent(&mut doorbells).await, "no more than the look-ahead");
    // These came over a connection that is gone: answering them does nothing, least of all to the new ones.
    assert_eq!(rung(&held), rung(&first));
    doorbells.ack(held).await;
    assert!(is_silent(&mut doorbells).await);
    doorbells.ack(first).await;
    hear_all(&mut doorbells, all[4..].to_vec()).await;
    assert!(is_silent(&mut doorbells).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_broker_is_declared_anew_and_the_loss_is_announced() {
    let Some(broker) = Broker::start() else { return };
    let queue = Queue::open(&broker.url, "faults").unwrap();
    let mut doorbells = queue.subscribe("nano", 16);
    ring(&queue, "nano", Interactive, &envelopes(3)).await;
    hear(&mut doorbells, 3).await;
    broker.kill();
    broker.wipe();
    let mut lost = queue.lost_lanes();
    while lost.try_recv().is_ok() {}
    broker.revive();
    let back = Instant::now();
    hear_of_loss(&mut lost, "nano", Interactive).await;
    let again = envelopes(3);
    ring(&queue, "nano", Interactive, &again).await;
    hear_all(&mut doorbells, again).await;
    eprintln!("work flows {:?} after the broker is back without its data", back.elapsed());
    assert!(back.elapsed() < FLOWS_AGAIN_WITHIN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_broker_delays_nobody_beyond_the_bound_and_work_flows_when_it_goes_on() {
    let Some(broker) = Broker::start() else { return };
    let queue = Queue::open(&broker.url, "faults").unwrap();
    let mut doorbells = queue.subscribe("nano", 16);
    ring(&queue, "nano", Interactive, &envelopes(1)).await;
    let heard = hear(&mut doorbells, 1).await;
    let pid = broker.pid();
    signal(&pid, "STOP");
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(queue.publish("nano", Interactive, &envelopes(2)).await, [false, false]);
        assert!(asked.elapsed() < PUBLISH_BOUND);
    }
    let asked = Instant::now();
    doorbells.ack(heard).await;
    assert!(asked.elapsed() < PUBLISH_BOUND);
    assert!(!queue.is_ready());
    // Several attempts to connect come to nothing, and none leaves a socket and its thread behind.
    let mut tried = broker.connections();
    let enough = tried.len() + 2 * LINES;
    let trying = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while tried.len() < enough {
            ticks.tick().await;
            tried.extend(broker.connections());
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("the queue tries to connect again");
    let left = broker.connections();
    assert!(left.len() <= LINES, "{} connections are left over", left.len());
    signal(&pid, "CONT");
    let back = Instant::now();
    let again = envelopes(5);
    ring(&queue, "nano", Interactive, &again).await;
    hear_all(&mut doorbells, again).await;
    eprintln!("work flows {:?} after the broker goes on", back.elapsed());
    assert!(back.elapsed() < FLOWS_AGAIN_WITHIN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_never_there_hinders_nobody() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let queue = Queue::open(&format!("amqp://user:password@127.0.0.1:{port}/%2f"), "faults").unwrap();
    let mut doorbells = queue.subscribe("nano", 4);
    let asked = Instant::now();
    for _ in 0..5 {
        assert_eq!(queue.publish("nano", Batch, &envelopes(1)).await, [false]);
    }
    assert!(asked.elapsed() < PUBLISH_BOUND);
    assert!(!queue.is_ready());
    assert!(is_silent(&mut doorbells).await);
}
