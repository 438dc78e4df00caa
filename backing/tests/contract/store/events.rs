//! Events once, deliveries at least once.

use backing::store::{Attempt, Phase};
use domain::{batch::Webhook, request::Lane};

use super::{
    on_both,
    scene::{Scene, answered},
};

fn webhook() -> Option<Webhook> {
    Some(Webhook { url: "https://example.com/hook".into(), secret: Some("whsec_c2VjcmV0".into()) })
}

on_both! {
    async fn a_terminal_batch_has_one_event_and_a_delivery_only_if_it_has_a_webhook(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(4).await;
        for webhook in [None, webhook()] {
            scene.started_with(1, 3600, webhook).await;
            let claims = scene.claim(worker, Lane::Batch, 1).await;
            scene.store.finish(worker, &[answered(&claims[0])]).await.unwrap();
            let (batch, _, term) = scene.store.take_batch(Phase::Assemble, 60.0).await.unwrap().unwrap();
            let (a, b) = tokio::join!(
                scene.store.complete_batch(batch.id, term, None, None),
                scene.store.complete_batch(batch.id, term, None, None)
            );
            assert!(a.unwrap() != b.unwrap(), "one of two wins");
        }
        assert_eq!(fresh.count("select count(*) from events where kind = 'batch.completed'").await, 2);
        let due = scene.store.take_deliveries(10, 60.0).await.unwrap();
        assert_eq!(due.len(), 1);
        let payload: serde_json::Value = serde_json::from_str(&due[0].payload).unwrap();
        assert_eq!((payload["type"].as_str(), payload["data"]["status"].as_str()), (Some("batch.completed"), Some("completed")));
        assert_eq!((due[0].tenant, due[0].secret.as_deref()), (scene.tenant, Some("whsec_c2VjcmV0")));
    }

    async fn a_rejected_batch_is_told_as_well(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let (batch, term) = scene.validating(3600, webhook()).await;
        assert!(scene.store.reject_batch(batch.id, term, &[]).await.unwrap());
        let due = scene.store.take_deliveries(10, 60.0).await.unwrap();
        assert!(due[0].payload.contains("batch.failed") && due[0].payload.contains(&batch.id.to_string()));
    }

    async fn a_delivery_comes_again_until_an_attempt_is_recorded(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        assert_eq!(scene.store.next_delivery_in().await.unwrap(), None);
        let (batch, term) = scene.validating(3600, webhook()).await;
        scene.store.reject_batch(batch.id, term, &[]).await.unwrap();
        assert_eq!(scene.store.next_delivery_in().await.unwrap(), Some(0.0));

        // A sender that dies between attempt and record repeats it at most.
        let first = scene.store.take_deliveries(10, -1.0).await.unwrap().remove(0);
        let again = scene.store.take_deliveries(10, 60.0).await.unwrap().remove(0);
        assert_eq!((first.id, again.attempts), (again.id, 0));
        assert!(scene.store.take_deliveries(10, 60.0).await.unwrap().is_empty(), "it is being tried");

        let retry = Attempt::Retry { status: Some(503), error: "busy".into(), seconds: 30.0 };
        assert!(scene.store.record_attempt(&again, &retry).await.unwrap());
        assert!(!scene.store.record_attempt(&first, &Attempt::Delivered { status: 200 }).await.unwrap(), "recorded by somebody else");
        let wait = scene.store.next_delivery_in().await.unwrap().unwrap();
        assert!((20.0..=30.0).contains(&wait), "{wait}");

        fresh.execute("update deliveries set next_at = '2020-01-01T00:00:00.000+00:00'").await;
        let third = scene.store.take_deliveries(10, 60.0).await.unwrap().remove(0);
        assert_eq!((third.id, third.attempts, &third.payload), (first.id, 1, &first.payload));
        assert!(scene.store.record_attempt(&third, &Attempt::Delivered { status: 204 }).await.unwrap());
        assert_eq!(scene.store.next_delivery_in().await.unwrap(), None);
        assert_eq!(fresh.count("select count(*) from deliveries where state = 'delivered' and attempts = 2 and ended_at is not null").await, 1);
    }

    async fn an_exhausted_delivery_is_not_tried_again(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let (batch, term) = scene.validating(3600, webhook()).await;
        scene.store.reject_batch(batch.id, term, &[]).await.unwrap();
        let due = scene.store.take_deliveries(10, -1.0).await.unwrap().remove(0);
        scene.store.record_attempt(&due, &Attempt::Exhausted { status: Some(410), error: "gone".into() }).await.unwrap();
        assert!(scene.store.take_deliveries(10, 60.0).await.unwrap().is_empty());
    }
}
