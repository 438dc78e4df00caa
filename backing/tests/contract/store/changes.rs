//! Wake-ups: whoever listens hears of it, in this process and (on Postgres) in all others.

use backing::store::{Change, Store};
use domain::request::Lane;

use super::{
    on_both,
    scene::{Scene, answered, hear},
};

on_both! {
    async fn each_kind_of_change_is_heard(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        // On Postgres the changes of one process are heard by another.
        let listener = if fresh.url.starts_with("postgres") { Store::open(&fresh.url).await.unwrap() } else { fresh.store.clone() };
        let mut changes = listener.changes();
        let worker = scene.worker(2).await;
        hear(&mut changes, Change::Queued).await;

        let batch = scene.started(1, 3600).await;
        hear(&mut changes, Change::Batch(batch.id)).await;
        let claims = scene.claim(worker, Lane::Batch, 1).await;
        hear(&mut changes, Change::Queued).await;
        scene.store.finish(worker, &[answered(&claims[0])]).await.unwrap();
        hear(&mut changes, Change::Batch(batch.id)).await;

        let unwanted = scene.started(1, 3600).await;
        hear(&mut changes, Change::Batch(unwanted.id)).await;
        // A cancel that is repeated is told again: a worker may have missed the first.
        for _ in 0..2 {
            scene.store.cancel_batch(scene.tenant, unwanted.id).await.unwrap();
            hear(&mut changes, Change::Batch(unwanted.id)).await;
        }

        let id = scene.single(60).await;
        scene.store.cancel_single(scene.tenant, id).await.unwrap();
        hear(&mut changes, Change::Ended(id)).await;

        let key = scene.store.insert_key(scene.tenant, [1; 32], "abcd").await.unwrap();
        scene.store.revoke_key(key).await.unwrap();
        hear(&mut changes, Change::Keys).await;
    }
}
