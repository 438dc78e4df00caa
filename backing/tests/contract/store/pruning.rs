//! What has done its duty goes, and nothing else.

use backing::store::{Phase, Prunable};
use domain::request::Lane;

use super::{
    on_both,
    scene::{Scene, answered},
};

on_both! {
    async fn lines_go_in_portions_once_their_batch_is_terminal_and_the_ledger_stays(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(9).await;
        let batch = scene.started(7, 3600).await;
        let claims = scene.claim(worker, Lane::Batch, 7).await;
        let mut ended: Vec<_> = claims.iter().map(answered).collect();
        ended[3].key = Some("results/large".into());
        scene.store.finish(worker, &ended).await.unwrap();
        assert_eq!(scene.store.prunable_lines(100).await.unwrap(), Prunable::default(), "not assembled yet");
        let (_, _, term) = scene.store.take_batch(Phase::Assemble, 60.0).await.unwrap().unwrap();
        scene.store.complete_batch(batch.id, term, None, None).await.unwrap();
        let first = scene.store.prunable_lines(3).await.unwrap();
        assert_eq!(scene.store.prunable_lines(3).await.unwrap(), first, "what was not pruned is named again");
        assert_eq!(scene.store.prune(&first.requests).await.unwrap(), 3);
        let rest = scene.store.prunable_lines(100).await.unwrap();
        assert_eq!((rest.requests.len(), &*rest.keys), (4, &["results/large".to_owned()][..]));
        assert_eq!(scene.store.prune(&rest.requests).await.unwrap(), 4);
        assert_eq!(scene.store.prunable_lines(100).await.unwrap(), Prunable::default());
        assert_eq!(fresh.count("select count(*) from results").await, 0);
        assert_eq!(fresh.count("select count(*) from charges").await, 7);
        assert_eq!(scene.batch(batch.id).await.counts.succeeded, 7, "counters are kept");
    }

    async fn single_requests_go_when_they_are_old(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(9).await;
        let (done, open) = (scene.single(60).await, scene.single(600).await);
        let claims = scene.claim(worker, Lane::Interactive, 1).await;
        let mut ended = answered(&claims[0]);
        ended.key = Some("results/large".into());
        scene.store.finish(worker, &[ended]).await.unwrap();
        assert_eq!(scene.store.prunable_singles(60.0, 100).await.unwrap(), Prunable::default(), "too young");
        let old = scene.store.prunable_singles(-1.0, 100).await.unwrap();
        assert_eq!(old.keys, ["results/large"]);
        assert_eq!(scene.store.prune(&old.requests).await.unwrap(), 1);
        assert!(scene.store.single(scene.tenant, done).await.unwrap().is_none());
        assert!(scene.store.single(scene.tenant, open).await.unwrap().is_some());
        assert_eq!(scene.store.ended_singles(&[done, open]).await.unwrap(), [done], "who still waits is not left waiting");
        assert_eq!(fresh.count("select count(*) from request_bodies").await, 1);
    }

    async fn the_bytes_of_a_deleted_file_stay_while_a_batch_reads_them(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let batch = scene.started(1, 3600).await;
        let unused = scene.file().await;
        assert!(scene.store.files_to_collect(10).await.unwrap().is_empty());
        for id in [batch.input_file, unused.id] {
            assert!(scene.store.delete_file(scene.tenant, id).await.unwrap());
            assert!(!scene.store.delete_file(scene.tenant, id).await.unwrap());
        }
        assert_eq!(scene.store.files_to_collect(10).await.unwrap(), std::slice::from_ref(&unused));
        scene.store.forget_files(&[unused.id]).await.unwrap();
        assert!(scene.store.files_to_collect(10).await.unwrap().is_empty());
        scene.store.cancel_batch(scene.tenant, batch.id).await.unwrap();
        scene.store.end_unfinished(10).await.unwrap();
        let (_, file, term) = scene.store.take_batch(Phase::Assemble, 60.0).await.unwrap().unwrap();
        assert_eq!(file.id, batch.input_file, "even a deleted file comes with its batch");
        scene.store.complete_batch(batch.id, term, None, None).await.unwrap();
        assert_eq!(scene.store.files_to_collect(10).await.unwrap()[0].id, batch.input_file);
    }
}
