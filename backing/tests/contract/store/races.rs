//! Everything at once, from several tasks: whatever the order, the counters equal a recount and every request has one ending.

use std::sync::atomic::{AtomicBool, Ordering};

use backing::store::{Claimed, Phase, Undelivered};
use domain::{
    batch::{Batch, State as BatchState},
    id::BatchId,
    request::Lane,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    databases::Fresh,
    on_both,
    scene::{Scene, answered, names, refused},
};

const LINES: u64 = 120;
const WORKERS: u64 = 4;

/// Claims, answers, refuses, repeats itself, drains and dies, by chance.
async fn work(scene: &Scene<'_>, seed: u64, done: &AtomicBool) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut worker = scene.worker(8).await;
    let mut held: Vec<Claimed> = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let ids = scene.dispatch(Lane::Batch, 12).await;
        held.extend(scene.store.claim(worker, &ids).await.unwrap());
        let some = held.split_off(held.len() - rng.random_range(0..=held.len()));
        match rng.random_range(0..10) {
            0 => drop(scene.store.release(worker, &names(&some)).await.unwrap()),
            1 => {
                scene.store.beat(worker, -1.0).await.unwrap();
                scene.store.sweep_workers().await.unwrap();
                // The dead man's results come late.
                scene.store.finish(worker, &some.iter().map(answered).collect::<Vec<_>>()).await.unwrap();
                held.clear();
                worker = scene.worker(8).await;
            }
            _ => {
                let ended = some.iter().map(|claim| if rng.random_bool(0.2) { refused(claim) } else { answered(claim) });
                let ended: Vec<_> = ended.collect();
                for _ in 0..rng.random_range(1..3) {
                    scene.store.finish(worker, &ended).await.unwrap();
                }
            }
        }
        scene.store.return_dispatched(&Undelivered::Unanswered { seconds: 0.05 }).await.unwrap();
    }
    scene.store.release(worker, &names(&held)).await.unwrap();
}

/// Ends what is to be ended, and assembles.
async fn upkeep(scene: &Scene<'_>) {
    scene.store.end_unfinished(7).await.unwrap();
    if let Some((batch, _, term)) = scene.store.take_batch(Phase::Assemble, 60.0).await.unwrap() {
        assert!(scene.store.complete_batch(batch.id, term, None, None).await.unwrap());
    }
}

async fn agrees_with_a_recount(fresh: &Fresh, batch: &Batch) {
    let counts = batch.counts;
    assert_eq!(counts.ended(), LINES, "{batch:?}");
    let lines = fresh.store.ended_lines(batch.id, 0, 1000).await.unwrap();
    let of = |state: &str| lines.iter().filter(|line| line.state.name() == state).count() as u64;
    let recount = (of("succeeded"), of("failed"), of("cancelled"), of("expired"));
    assert_eq!((counts.succeeded, counts.failed, counts.cancelled, counts.expired), recount);
    for line in &lines {
        assert_eq!(line.result.is_some(), matches!(line.state.name(), "succeeded" | "failed"), "{line:?}");
    }
    assert_eq!((batch.usage.prompt, batch.usage.completion), (7 * of("succeeded"), 3 * of("succeeded")));
}

on_both! {
    async fn counters_agree_with_a_recount_after_everything_at_once(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let mut batches: Vec<BatchId> = Vec::new();
        for _ in 0..3 {
            batches.push(scene.started(LINES, 3600).await.id);
        }
        let done = AtomicBool::new(false);
        let workers = futures::future::join_all((0..WORKERS).map(|seed| work(&scene, seed, &done)));
        let rest = async {
            while scene.batch(batches[0]).await.counts.ended() < LINES / 2 {
                upkeep(&scene).await;
            }
            scene.store.cancel_batch(scene.tenant, batches[1]).await.unwrap();
            while scene.batch(batches[2]).await.counts.ended() < LINES / 2 {
                upkeep(&scene).await;
            }
            fresh.close_windows().await;
            for &id in &batches {
                while !scene.batch(id).await.state.is_terminal() {
                    upkeep(&scene).await;
                }
            }
            done.store(true, Ordering::Relaxed);
        };
        tokio::join!(workers, rest);

        let mut succeeded = 0;
        for &id in &batches {
            let batch = scene.batch(id).await;
            agrees_with_a_recount(fresh, &batch).await;
            succeeded += batch.counts.succeeded;
        }
        assert!(matches!(scene.batch(batches[1]).await.state, BatchState::Cancelled | BatchState::Completed));
        assert!(succeeded > LINES / 2);
        assert_eq!(fresh.count("select count(*) from charges").await as u64, succeeded);
        assert_eq!(fresh.count("select count(*) from events").await, 3);
    }
}
