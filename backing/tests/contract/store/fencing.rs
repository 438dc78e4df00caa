//! Exactly one result and one charge a request, whoever comes late, twice or under a wrong name.

use backing::store::FinishReport;
use domain::request::{Lane, State};

use super::{
    on_both,
    scene::{Scene, answered, names, refused},
};

on_both! {
    async fn a_result_under_an_old_epoch_changes_nothing(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(4).await;
        scene.started(1, 3600).await;
        let old = scene.claim(worker, Lane::Batch, 1).await;
        assert_eq!(scene.store.release(worker, &names(&old)).await.unwrap(), 1);
        let new = scene.claim(worker, Lane::Batch, 1).await;
        assert_eq!((new[0].id, new[0].epoch), (old[0].id, old[0].epoch + 1));

        let late = scene.store.finish(worker, &[refused(&old[0])]).await.unwrap();
        assert_eq!(late, FinishReport { won: 0, fenced: vec![old[0].id] });
        assert_eq!(scene.store.release(worker, &names(&old)).await.unwrap(), 0, "nor can it be released");
        assert_eq!(scene.store.lost_claims(worker, &names(&old)).await.unwrap(), [old[0].id]);
        assert_eq!(scene.store.lost_claims(worker, &names(&new)).await.unwrap(), []);

        assert_eq!(scene.store.finish(worker, &[answered(&new[0])]).await.unwrap().won, 1);
        let late = scene.store.finish(worker, &[refused(&old[0])]).await.unwrap();
        assert_eq!(late.fenced, [old[0].id]);
        assert_eq!(fresh.count("select count(*) from requests where state = 'succeeded'").await, 1);
    }

    async fn a_result_of_another_worker_changes_nothing(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let (owner, stranger) = (scene.worker(4).await, scene.worker(4).await);
        let batch = scene.started(1, 3600).await;
        let claims = scene.claim(owner, Lane::Batch, 1).await;
        assert_eq!(scene.store.finish(stranger, &[answered(&claims[0])]).await.unwrap().fenced, [claims[0].id]);
        assert_eq!(scene.batch(batch.id).await.counts.succeeded, 0);
    }

    /// The answer to the first call may have been lost, so the second must neither count again nor look like a defeat.
    async fn the_same_result_twice_counts_once_and_is_won_both_times(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(4).await;
        let batch = scene.started(3, 3600).await;
        let claims = scene.claim(worker, Lane::Batch, 2).await;
        let ended: Vec<_> = claims.iter().map(answered).collect();
        for _ in 0..2 {
            assert_eq!(scene.store.finish(worker, &ended).await.unwrap(), FinishReport { won: 2, fenced: vec![] });
        }
        let batch = scene.batch(batch.id).await;
        assert_eq!((batch.counts.succeeded, batch.usage.prompt), (2, 14));
        assert_eq!(fresh.count("select count(*) from charges").await, 2);
        assert_eq!(fresh.count("select count(*) from results").await, 2);
    }

    async fn a_result_after_a_cancel_changes_nothing_and_the_claim_is_seen_to_be_lost(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(4).await;
        let id = scene.single(60).await;
        let claims = scene.claim(worker, Lane::Interactive, 1).await;
        assert!(scene.store.cancel_single(scene.tenant, id).await.unwrap());
        assert!(!scene.store.cancel_single(scene.tenant, id).await.unwrap(), "a second cancel has nothing left to do");
        assert_eq!(scene.store.lost_claims(worker, &names(&claims)).await.unwrap(), [id]);
        assert_eq!(scene.store.finish(worker, &[answered(&claims[0])]).await.unwrap().fenced, [id]);
        let view = scene.store.single(scene.tenant, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.result), (State::Cancelled, None));
        assert_eq!(fresh.count("select count(*) from charges").await, 0);
    }

    async fn failures_are_stored_but_not_charged(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(4).await;
        let batch = scene.started(2, 3600).await;
        let claims = scene.claim(worker, Lane::Batch, 2).await;
        scene.store.finish(worker, &[refused(&claims[0]), answered(&claims[1])]).await.unwrap();
        let batch = scene.batch(batch.id).await;
        assert_eq!((batch.counts.failed, batch.counts.succeeded, batch.usage.total()), (1, 1, 10));
        assert_eq!(fresh.count("select count(*) from charges").await, 1);
        assert_eq!(scene.store.ended_lines(batch.id, 0, 10).await.unwrap()[0].result.as_ref().unwrap().0, 400);
    }
}
