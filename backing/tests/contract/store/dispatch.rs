//! Dispatch: who is next, who may decide it, and what comes back.

use backing::store::{DISPATCHER, Term, Undelivered};
use domain::{
    fairness::{Charge, Choice},
    id::TenantId,
    request::Lane,
};
use uuid::Uuid;

use super::{
    on_both,
    scene::{MODEL, Scene, new_lines},
};

on_both! {
    async fn the_earliest_deadline_comes_first_and_lines_stay_in_file_order(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        scene.worker(50).await;
        let (late, early) = (scene.started(3, 7200).await, scene.started(3, 3600).await);
        let claimants = scene.store.claimants(MODEL, Lane::Batch, 5).await.unwrap();
        assert_eq!((claimants.len(), claimants[0].runnable.len()), (1, 5));
        let ids = scene.dispatch(Lane::Batch, 5).await;
        let worker = scene.worker(50).await;
        let claims = scene.store.claim(worker, &ids).await.unwrap();
        let batches: Vec<_> = claims.iter().map(|claim| claim.batch.unwrap()).collect();
        assert_eq!(batches, [early.id, early.id, early.id, late.id, late.id]);

        let (relaxed, urgent) = (scene.single(600).await, scene.single(60).await);
        assert_eq!(scene.dispatch(Lane::Interactive, 5).await, [urgent, relaxed]);
    }

    async fn every_tenant_is_a_claimant_the_least_served_first(fresh: Fresh) {
        let mut scene = Scene::new(&fresh.store).await;
        let (acme, zeta) = (scene.tenant, scene.store.ensure_tenant("zeta").await.unwrap());
        for tenant in [acme, zeta] {
            scene.tenant = tenant;
            scene.started(4, 3600).await;
            scene.single(60).await;
        }
        let choice = Choice { requests: vec![], charges: vec![charge(acme, 50.0), charge(zeta, 7.5)], floor: 0.0 };
        scene.store.mark_dispatched(&choice, scene.term).await.unwrap();
        // Another lane that began its choice at the same time adds to the first; it does not replace it.
        let beside = Choice { requests: vec![], charges: vec![charge(acme, 10.0)], floor: 0.0 };
        scene.store.mark_dispatched(&beside, scene.term).await.unwrap();
        for lane in Lane::ALL {
            let claimants = scene.store.claimants(MODEL, lane, 3).await.unwrap();
            let seen: Vec<_> = claimants.iter().map(|claimant| (claimant.tenant, claimant.served, claimant.runnable.len())).collect();
            let expected = if lane == Lane::Batch { 3 } else { 1 };
            assert_eq!(seen, [(zeta, 7.5, expected), (acme, 60.0, expected)]);
        }
        assert!(scene.store.claimants("unknown", Lane::Batch, 3).await.unwrap().is_empty());
    }

    async fn lanes_have_windows_of_their_own_and_need_a_live_worker(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        scene.started(10, 3600).await;
        scene.single(60).await;
        assert!(scene.store.dispatchable().await.unwrap().is_empty(), "no worker");
        let worker = scene.worker(3).await;
        let lanes = |interactive, batch| vec![(MODEL.to_owned(), Lane::Interactive, interactive), (MODEL.to_owned(), Lane::Batch, batch)];
        assert_eq!(scene.store.dispatchable().await.unwrap(), lanes(6, 6));
        assert_eq!(scene.dispatch(Lane::Batch, 4).await.len(), 4);
        assert_eq!(scene.store.dispatchable().await.unwrap(), lanes(6, 2));
        scene.dispatch(Lane::Batch, 2).await;
        assert_eq!(scene.store.dispatchable().await.unwrap(), lanes(6, 0)[..1], "a full window");
        scene.store.retire_worker(worker).await.unwrap();
        assert!(scene.store.dispatchable().await.unwrap().is_empty());
    }

    async fn lines_that_are_not_started_or_overdue_are_invisible(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        scene.worker(3).await;
        let (batch, term) = scene.validating(3600, None).await;
        scene.store.insert_lines(&batch, term, &new_lines(3)).await.unwrap();
        assert!(scene.dispatch(Lane::Batch, 10).await.is_empty());
        scene.store.start_batch(batch.id, term, 3, None).await.unwrap();
        assert_eq!(scene.dispatch(Lane::Batch, 1).await.len(), 1);
        fresh.close_windows().await;
        assert!(scene.dispatch(Lane::Batch, 10).await.is_empty());
        assert!(scene.store.dispatchable().await.unwrap().is_empty());
    }

    async fn a_dispatcher_whose_term_is_over_marks_nothing(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        scene.started(2, 3600).await;
        let claimants = scene.store.claimants(MODEL, Lane::Batch, 2).await.unwrap();
        let requests = claimants[0].runnable.iter().map(|(id, _)| *id).collect();
        let choice = Choice { requests, charges: vec![charge(scene.tenant, 20.0)], floor: 0.0 };
        assert!(scene.store.mark_dispatched(&choice, Term(scene.term.0 + 1)).await.unwrap().is_empty());
        fresh.execute("update leases set expires_at = '2020-01-01T00:00:00.000+00:00'").await;
        assert!(scene.store.mark_dispatched(&choice, scene.term).await.unwrap().is_empty());
        let term = scene.store.lead(DISPATCHER, Uuid::new_v4(), 60.0).await.unwrap().unwrap();
        assert_eq!(scene.store.claimants(MODEL, Lane::Batch, 2).await.unwrap()[0].served, 0.0);
        assert_eq!(scene.store.mark_dispatched(&choice, term).await.unwrap().len(), 2);
        assert_eq!(scene.store.mark_dispatched(&choice, term).await.unwrap(), [], "they are not queued any more");
    }

    async fn unanswered_doorbells_go_back_to_the_backlog(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(10).await;
        scene.started(6, 3600).await;
        let single = scene.single(60).await;
        scene.dispatch(Lane::Interactive, 1).await;
        let ids = scene.dispatch(Lane::Batch, 6).await;
        scene.store.claim(worker, &ids[..1]).await.unwrap();
        let back = |which| async move { scene.store.return_dispatched(&which).await.unwrap() };
        assert_eq!(back(Undelivered::These(vec![ids[0], ids[1]])).await, 1, "what runs stays");
        assert_eq!(back(Undelivered::Unanswered { seconds: 60.0 }).await, 0);
        assert_eq!(back(Undelivered::Lane { model: "other".into(), lane: Lane::Batch }).await, 0);
        assert_eq!(back(Undelivered::Lane { model: MODEL.into(), lane: Lane::Batch }).await, 4);
        assert_eq!(back(Undelivered::Unanswered { seconds: -1.0 }).await, 1);
        assert_eq!(scene.dispatch(Lane::Interactive, 9).await, [single]);
        assert_eq!(scene.dispatch(Lane::Batch, 9).await, ids[1..]);
    }
}

fn charge(tenant: TenantId, tokens: f64) -> Charge {
    Charge { tenant, start: 0.0, tokens }
}
