//! Listings and look-ups: files, batches, keys, models. Tenants see their own.

use backing::store::Order;
use domain::{file::Purpose, id::BatchId, model::Model};

use super::{on_both, scene::Scene};

on_both! {
    async fn files_are_paged_by_key_even_past_a_deleted_cursor(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(scene.file().await.id);
        }
        let page = |after, limit, order| async move {
            let page = scene.store.files(scene.tenant, None, after, limit, order).await.unwrap().unwrap();
            (page.items.iter().map(|file| file.id).collect::<Vec<_>>(), page.has_more)
        };
        assert_eq!(page(None, 2, Order::NewestFirst).await, (vec![ids[4], ids[3]], true));
        scene.store.delete_file(scene.tenant, ids[3]).await.unwrap();
        assert_eq!(page(Some(ids[3]), 3, Order::NewestFirst).await, (vec![ids[2], ids[1], ids[0]], false));
        assert_eq!(page(Some(ids[1]), 9, Order::OldestFirst).await, (vec![ids[2], ids[4]], false));
        let outputs = scene.store.files(scene.tenant, Some(Purpose::BatchOutput), None, 9, Order::NewestFirst).await.unwrap().unwrap();
        assert!(outputs.items.is_empty());
        let stranger = scene.store.ensure_tenant("stranger").await.unwrap();
        assert!(scene.store.files(stranger, None, Some(ids[0]), 9, Order::NewestFirst).await.unwrap().is_none());
        assert!(scene.store.file(stranger, ids[0]).await.unwrap().is_none());
        assert!(!scene.store.delete_file(stranger, ids[0]).await.unwrap());
    }

    async fn an_expired_file_is_not_found_and_a_file_comes_back_as_it_was(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let mut file = scene.file_of(scene.tenant);
        file.expires_at = Some(4_000_000_000);
        scene.store.insert_file(&file).await.unwrap();
        assert_eq!(scene.store.file(scene.tenant, file.id).await.unwrap(), Some(file.clone()));
        let mut old = scene.file_of(scene.tenant);
        old.expires_at = Some(1_700_000_001);
        scene.store.insert_file(&old).await.unwrap();
        assert_eq!(scene.store.file(scene.tenant, old.id).await.unwrap(), None);
        assert_eq!(scene.store.files_to_collect(9).await.unwrap(), [old]);
    }

    async fn batches_are_paged_the_newest_first_and_a_foreign_cursor_is_refused(fresh: Fresh) {
        let mut scene = Scene::new(&fresh.store).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let new = scene.new_batch(3600, None).await;
            ids.push(scene.store.insert_batch(&new).await.unwrap().id);
        }
        let page = scene.store.batches(scene.tenant, None, 2).await.unwrap().unwrap();
        assert_eq!((page.items.iter().map(|batch| batch.id).collect::<Vec<_>>(), page.has_more), (vec![ids[2], ids[1]], true));
        let page = scene.store.batches(scene.tenant, Some(ids[1]), 2).await.unwrap().unwrap();
        assert_eq!((page.items[0].id, page.items.len(), page.has_more), (ids[0], 1, false));
        assert!(scene.store.batches(scene.tenant, Some(BatchId::new()), 2).await.unwrap().is_none());
        scene.tenant = scene.store.ensure_tenant("stranger").await.unwrap();
        assert!(scene.store.batches(scene.tenant, Some(ids[1]), 2).await.unwrap().is_none());
        assert!(scene.store.batch(scene.tenant, ids[0]).await.unwrap().is_none());
        assert!(scene.store.cancel_batch(scene.tenant, ids[0]).await.unwrap().is_none());
    }

    async fn a_revoked_key_opens_nothing_and_still_counts_as_a_key(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        assert!(!scene.store.has_keys().await.unwrap());
        let id = scene.store.insert_key(scene.tenant, [7; 32], "abcd").await.unwrap();
        assert!(scene.store.insert_key(scene.tenant, [7; 32], "abcd").await.is_err(), "a key is unique");
        assert_eq!(scene.store.tenant_of_key([7; 32]).await.unwrap(), Some(scene.tenant));
        assert!(scene.store.revoke_key(id).await.unwrap());
        assert!(!scene.store.revoke_key(domain::id::KeyId::new()).await.unwrap());
        assert_eq!(scene.store.tenant_of_key([7; 32]).await.unwrap(), None);
        let keys = scene.store.keys().await.unwrap();
        assert_eq!((keys.len(), keys[0].tenant.as_str(), keys[0].revoked_at.is_some()), (1, "acme", true));
        assert!(scene.store.has_keys().await.unwrap());
    }

    async fn a_model_outlives_its_workers_and_keeps_its_measured_rate(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let mut model = scene.store.model("nano").await.unwrap().unwrap();
        model.tokens_per_s = Some(12.5);
        scene.store.register_model(&model).await.unwrap();
        scene.store.register_model(&Model { tokens_per_s: None, context_length: 8192, ..model.clone() }).await.unwrap();
        let worker = scene.worker(1).await;
        let expected = Model { context_length: 8192, ..model };
        assert_eq!(scene.store.models().await.unwrap(), [(expected.clone(), true)]);
        scene.store.retire_worker(worker).await.unwrap();
        assert_eq!(scene.store.models().await.unwrap(), [(expected, false)]);
        assert_eq!(scene.store.model("unknown").await.unwrap(), None);
    }
}
