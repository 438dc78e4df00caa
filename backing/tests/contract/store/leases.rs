//! Leases: one leader at a time, a new term for each new one.

use backing::store::Phase;
use uuid::Uuid;

use super::{on_both, scene::Scene};

on_both! {
    async fn one_leads_at_a_time_and_the_term_grows_with_every_change(fresh: Fresh) {
        let store = &fresh.store;
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        let lead = |holder, seconds| async move { store.lead("sweep", holder, seconds).await.unwrap().map(|term| term.0) };
        assert_eq!(lead(one, 60.0).await, Some(1));
        assert_eq!(lead(one, 60.0).await, Some(1), "extended");
        assert_eq!(lead(other, 60.0).await, None);
        assert_eq!(store.lead("collect", other, 60.0).await.unwrap().map(|term| term.0), Some(1), "another duty");
        store.resign("sweep", other).await.unwrap();
        assert_eq!(lead(other, 60.0).await, None, "nobody resigns for others");
        store.resign("sweep", one).await.unwrap();
        assert_eq!(lead(other, -1.0).await, Some(2));
        assert_eq!(lead(other, 60.0).await, Some(3), "a term that had ended is over, also for its holder");
        assert_eq!(lead(one, 60.0).await, None);
    }

    async fn one_of_many_becomes_the_leader(fresh: Fresh) {
        let attempts = (0..8).map(|_| fresh.store.lead("dispatch", Uuid::new_v4(), 60.0));
        let terms = futures::future::try_join_all(attempts).await.unwrap();
        assert_eq!(terms.iter().flatten().count(), 1);
    }

    async fn a_batch_is_held_by_one_and_the_oldest_comes_first(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let (first, second) = (scene.new_batch(3600, None).await, scene.new_batch(3600, None).await);
        for new in [&second, &first] {
            scene.store.insert_batch(new).await.unwrap();
        }
        let take = || async { scene.store.take_batch(Phase::Validate, 60.0).await.unwrap().map(|(batch, ..)| batch.id) };
        let mut taken = [take().await, take().await];
        taken.sort();
        assert_eq!(taken, [Some(first.id), Some(second.id)]);
        assert_eq!(take().await, None);
    }
}
