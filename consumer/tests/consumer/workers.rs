//! A worker's life: fenced off when its lease is over, drained when it is told to end, deaf to nothing that is cancelled.

use std::time::Duration;

use backing::{
    store::{Body, Worker},
    telemetry,
};
use consumer::Role;
use domain::{batch::State, id::WorkerId, request};
use serde_json::json;

use crate::bench::{Bench, MODEL, line, lines, roles, settings};

/// Eight tokens a line.
const LINE_TOKENS: f32 = 8.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_changes_nothing_and_every_request_is_answered_once() {
    let metrics = telemetry::install_metrics();
    let bench = Bench::new().await;
    let mut singles = Vec::new();
    for _ in 0..10 {
        singles.push(bench.single(json!({ "model": MODEL, "prompt": "hello" })).await);
    }
    // Its ten places are taken for two seconds each, and it does not look at its lease: a stopped process does not either.
    let mut slow = settings(Some(LINE_TOKENS / 2.0), 8);
    (slow.lease.heartbeat, slow.lease.lease) = (Duration::from_secs(600), Duration::from_secs(600));
    slow.drain_grace = Duration::ZERO;
    let (shutdown, zombie) = bench.consume(roles(slow, &[Role::Infer]));
    let all_places = async || (bench.count(&singles, request::State::Running).await == 10).then_some(());
    bench.until("all of its places are taken", all_places).await;
    let worker = bench.backing.store.live_workers().await.unwrap().pop().unwrap();
    bench.backing.store.retire_worker(worker.id).await.unwrap();
    let returned = bench.backing.store.sweep_workers().await.unwrap();
    assert!(returned > 0);

    let late_result_is_fenced = async || {
        let text = metrics.render();
        let fenced = text.lines().find_map(|line| line.strip_prefix("millrace_fenced_total "))?;
        (fenced.parse::<u64>().unwrap() > 0).then_some(())
    };
    bench.until("a late result is fenced", late_result_is_fenced).await;
    assert_eq!(bench.count(&singles, request::State::Queued).await as u64, returned, "a late result changed something");
    shutdown.cancel();
    zombie.await.unwrap().unwrap();

    bench.consume(roles(settings(None, 8), &[Role::Infer]));
    let all_answered = async || (bench.count(&singles, request::State::Succeeded).await == 10).then_some(());
    bench.until("somebody else answers", all_answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_lease_is_over_begins_anew_under_another_id() {
    let bench = Bench::new().await;
    let batch = bench.submit(&lines(60, json!({}))).await;
    bench.consume(settings(Some(30.0 * LINE_TOKENS), 8));
    bench.until("some lines are answered", async || (bench.batch(batch).await.counts.succeeded > 0).then_some(())).await;
    let first = bench.backing.store.live_workers().await.unwrap().pop().unwrap();
    bench.backing.store.retire_worker(first.id).await.unwrap();
    let next = async || bench.backing.store.live_workers().await.unwrap().pop().filter(|worker| worker.id != first.id);
    bench.until("another worker is registered", next).await;
    let ended = bench.ended(batch).await;
    assert_eq!((ended.state, ended.counts.succeeded), (State::Completed, 60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_gives_back_what_it_has_not_finished_without_counting_the_attempt() {
    let bench = Bench::new().await;
    let mut singles = Vec::new();
    for _ in 0..12 {
        singles.push(bench.single(json!({ "model": MODEL, "prompt": "hello" })).await);
    }
    // One answer in 100 seconds.
    let mut stuck = settings(Some(LINE_TOKENS / 100.0), 8);
    stuck.drain_grace = Duration::from_millis(100);
    let (shutdown, consumer) = bench.consume(roles(stuck, &[Role::Infer]));
    let all_places = async || (bench.count(&singles, request::State::Running).await == 10).then_some(());
    bench.until("all of its places are taken", all_places).await;
    shutdown.cancel();
    consumer.await.unwrap().unwrap();
    assert!(bench.backing.store.live_workers().await.unwrap().is_empty());
    assert_eq!(bench.count(&singles, request::State::Running).await, 0);

    // Whoever claims them now is the first to try them.
    let worker = Worker { id: WorkerId::new(), model: Some(MODEL.into()), slots: 64 };
    bench.backing.store.register_worker(&worker, 60.0).await.unwrap();
    let mut doorbells = bench.backing.queue.subscribe(MODEL, 64);
    let mut claimed = Vec::new();
    while claimed.len() < 12 {
        bench.dispatch().await;
        let rung = doorbells.next(64).await;
        let ids: Vec<_> = rung.iter().map(|doorbell| doorbell.envelope.request()).collect();
        claimed.extend(bench.backing.store.claim(worker.id, &ids).await.unwrap());
        doorbells.ack(rung).await;
    }
    assert!(claimed.iter().all(|claim| claim.attempts == 1));
    assert_eq!(claimed.iter().filter(|claim| claim.epoch == 2).count(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_batch_frees_its_places_in_the_running_engine() {
    let bench = Bench::new().await;
    // After its first line this batch would hold all places for an hour.
    let long = lines(10, json!({ "max_tokens": 30_000, "ignore_eos": true }));
    let stuck = bench.submit(&(line("short", json!({})) + &long)).await;
    bench.consume(settings(Some(100.0), 4));
    bench.until("the first long line runs", async || (bench.batch(stuck).await.counts.succeeded == 1).then_some(())).await;
    let next = bench.submit(&lines(3, json!({}))).await;
    bench.backing.store.cancel_batch(bench.tenant, stuck).await.unwrap();
    assert_eq!(bench.ended(next).await.counts.succeeded, 3);
    let cancelled = bench.ended(stuck).await;
    assert_eq!((cancelled.state, cancelled.counts.succeeded, cancelled.counts.cancelled), (State::Cancelled, 1, 10));
    assert_eq!((bench.lines(cancelled.output_file).await.len(), bench.lines(cancelled.error_file).await.len()), (1, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_no_model_takes_is_refused_and_its_neighbours_are_answered() {
    let bench = Bench::new().await;
    let good = bench.single(json!({ "model": MODEL, "prompt": "hello" })).await;
    let bad = bench.single(json!({ "model": MODEL, "prompt": 7 })).await;
    bench.consume(roles(settings(None, 4), &[Role::Infer]));
    let ended = async || {
        (bench.count(&[good, bad], request::State::Succeeded).await == 1 && bench.count(&[bad], request::State::Failed).await == 1)
            .then_some(())
    };
    bench.until("both have ended", ended).await;
    let refused = bench.backing.store.single(bench.tenant, bad).await.unwrap().unwrap();
    let Some((400, Body::Inline(body))) = refused.result else { panic!("{refused:?}") };
    assert!(body.contains(r#""param":"prompt""#), "{body}");
}
