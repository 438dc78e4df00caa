//! Claims: who may claim, what is counted as an attempt, and what becomes of the claims of the dead.

use backing::store::{Body, Worker};
use domain::{
    id::{RequestId, WorkerId},
    limits::ATTEMPTS_MAX,
    request::{Lane, State},
};

use super::{
    on_both,
    scene::{MODEL, Scene, answered, names},
};

on_both! {
    async fn only_dispatched_requests_are_claimed_and_each_by_one_worker(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let (one, other) = (scene.worker(4).await, scene.worker(4).await);
        scene.started(20, 3600).await;
        let ids = scene.dispatch(Lane::Batch, 10).await;
        let unknown = RequestId::new();
        let wanted: Vec<_> = ids.iter().rev().copied().chain([unknown]).collect();
        let (a, b) = tokio::join!(scene.store.claim(one, &wanted), scene.store.claim(other, &ids));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.len() + b.len(), 10);
        let order: Vec<_> = a.iter().map(|claim| claim.id).collect();
        let expected: Vec<_> = wanted.iter().filter(|id| order.contains(id)).copied().collect();
        assert_eq!(order, expected, "claims come in the order of the doorbells");
        assert!(scene.store.claim(one, &ids).await.unwrap().is_empty());
        assert!(scene.store.claim(one, &[]).await.unwrap().is_empty());
    }

    async fn a_dead_worker_claims_nothing_and_cannot_come_back(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let dead = Worker { id: WorkerId::new(), model: Some(MODEL.into()), slots: 4 };
        scene.store.register_worker(&dead, -1.0).await.unwrap();
        scene.single(60).await;
        assert!(scene.claim(dead.id, Lane::Interactive, 1).await.is_empty());
        assert!(!scene.store.beat(dead.id, 60.0).await.unwrap());
        assert!(scene.store.live_workers().await.unwrap().is_empty());
        assert_eq!(scene.store.sweep_workers().await.unwrap(), 0);
        let live = scene.worker(4).await;
        assert!(scene.store.beat(live, 60.0).await.unwrap());
        assert_eq!(scene.store.live_workers().await.unwrap().len(), 1);
    }

    async fn a_drain_does_not_count_as_an_attempt_and_a_death_does(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        scene.single(60).await;
        for _ in 0..2 * ATTEMPTS_MAX {
            let worker = scene.worker(1).await;
            let claims = scene.claim(worker, Lane::Interactive, 1).await;
            assert_eq!(claims[0].attempts, 1);
            scene.store.release(worker, &names(&claims)).await.unwrap();
            scene.store.retire_worker(worker).await.unwrap();
            assert_eq!(scene.store.sweep_workers().await.unwrap(), 0);
        }
        let worker = scene.worker(1).await;
        assert_eq!(scene.claim(worker, Lane::Interactive, 1).await[0].attempts, 1);
        scene.store.beat(worker, -1.0).await.unwrap();
        assert_eq!(scene.store.sweep_workers().await.unwrap(), 1);
        let worker = scene.worker(1).await;
        assert_eq!(scene.claim(worker, Lane::Interactive, 1).await[0].attempts, 2);
    }

    /// One of them alone takes its worker down; the other is only unlucky, and both are given up in the end.
    async fn a_request_whose_attempts_are_used_up_fails_instead_of_running(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let (batch, single) = (scene.started(1, 3600).await, scene.single(60).await);
        for attempt in 1..=ATTEMPTS_MAX {
            let worker = scene.worker(2).await;
            for lane in Lane::ALL {
                assert_eq!(scene.claim(worker, lane, 1).await[0].attempts, attempt);
            }
            scene.store.beat(worker, -1.0).await.unwrap();
            assert_eq!(scene.store.sweep_workers().await.unwrap(), 2);
        }
        let worker = scene.worker(2).await;
        for lane in Lane::ALL {
            assert!(scene.claim(worker, lane, 1).await.is_empty());
        }
        let view = scene.store.single(scene.tenant, single).await.unwrap().unwrap();
        let Some((500, Body::Inline(body))) = view.result else { panic!("{:?}", view.result) };
        assert!(view.state == State::Failed && body.contains("attempts_exhausted"), "{body}");
        assert_eq!(scene.batch(batch.id).await.counts.failed, 1);
        assert_eq!(fresh.count("select count(*) from charges").await, 0);
    }

    async fn the_late_result_of_a_swept_worker_is_fenced(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let stopped = scene.worker(8).await;
        let batch = scene.started(5, 3600).await;
        let old = scene.claim(stopped, Lane::Batch, 5).await;
        scene.store.beat(stopped, -1.0).await.unwrap();
        assert_eq!(scene.store.sweep_workers().await.unwrap(), 5);
        assert_eq!(scene.store.lost_claims(stopped, &names(&old)).await.unwrap().len(), 5);
        let new = scene.worker(8).await;
        let claims = scene.claim(new, Lane::Batch, 5).await;
        let late = scene.store.finish(stopped, &old.iter().map(answered).collect::<Vec<_>>()).await.unwrap();
        assert_eq!((late.won, late.fenced.len()), (0, 5));
        let report = scene.store.finish(new, &claims.iter().map(answered).collect::<Vec<_>>()).await.unwrap();
        assert_eq!((report.won, scene.batch(batch.id).await.counts.succeeded), (5, 5));
    }
}
