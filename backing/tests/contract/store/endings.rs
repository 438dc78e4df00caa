//! How batches end when all does not go well: rejected, cancelled, overdue.

use backing::store::Phase;
use domain::{
    batch::{BatchError, State as BatchState},
    request::{Lane, State},
};

use super::{
    on_both,
    scene::{Scene, answered, names, new_lines},
};

on_both! {
    async fn a_rejected_batch_tells_why_and_never_runs(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let (batch, term) = scene.validating(3600, None).await;
        assert!(scene.store.insert_lines(&batch, term, &new_lines(5)).await.unwrap());
        let error = BatchError { code: "duplicate_custom_id".into(), message: "twice".into(), param: Some("custom_id".into()), line: Some(6) };
        assert!(scene.store.reject_batch(batch.id, term, std::slice::from_ref(&error)).await.unwrap());
        assert!(!scene.store.reject_batch(batch.id, term, &[]).await.unwrap());
        assert!(!scene.store.start_batch(batch.id, term, 5, None).await.unwrap());
        let batch = scene.batch(batch.id).await;
        assert_eq!((batch.state, batch.errors, batch.counts.total), (BatchState::Failed, vec![error], 0));
        assert!(scene.dispatch(Lane::Batch, 10).await.is_empty());
        assert_eq!(scene.store.end_unfinished(100).await.unwrap(), 0);
        assert!(scene.store.take_batch(Phase::Assemble, 60.0).await.unwrap().is_none());
    }

    async fn a_validation_may_start_over_without_doubling_lines(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let (batch, term) = scene.validating(3600, None).await;
        scene.store.insert_lines(&batch, term, &new_lines(5)).await.unwrap();
        fresh.execute("update batches set lease_until = '2020-01-01T00:00:00.000+00:00'").await;
        let (again, _, new_term) = scene.store.take_batch(Phase::Validate, 60.0).await.unwrap().unwrap();
        assert_eq!((again.id, new_term.0), (batch.id, term.0 + 1));
        assert!(!scene.store.insert_lines(&batch, term, &new_lines(9)).await.unwrap(), "the old holder is out");
        assert!(!scene.store.keep_batch(batch.id, term, 60.0).await.unwrap());
        assert!(scene.store.insert_lines(&again, new_term, &new_lines(8)).await.unwrap());
        assert!(!scene.store.start_batch(batch.id, term, 5, None).await.unwrap());
        assert!(scene.store.start_batch(batch.id, new_term, 8, None).await.unwrap());
        assert_eq!(fresh.count("select count(*) from requests").await, 8);
    }

    async fn a_cancel_during_validation_takes_the_batch_away_from_its_reader(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let (batch, term) = scene.validating(3600, None).await;
        scene.store.insert_lines(&batch, term, &new_lines(5)).await.unwrap();
        let cancelled = scene.store.cancel_batch(scene.tenant, batch.id).await.unwrap().unwrap();
        assert_eq!(cancelled.state, BatchState::Cancelling);
        assert!(!scene.store.keep_batch(batch.id, term, 60.0).await.unwrap());
        assert!(!scene.store.insert_lines(&batch, term, &new_lines(9)).await.unwrap());
        assert!(!scene.store.start_batch(batch.id, term, 5, None).await.unwrap());
        assert_eq!(scene.store.end_unfinished(100).await.unwrap(), 0, "lines that never started are not counted");
        let (batch, _, term) = scene.store.take_batch(Phase::Assemble, 60.0).await.unwrap().unwrap();
        assert!(scene.store.complete_batch(batch.id, term, None, None).await.unwrap());
        assert_eq!(scene.batch(batch.id).await.state, BatchState::Cancelled);
    }

    async fn a_cancelled_batch_keeps_what_was_answered_and_ends_the_rest(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(4).await;
        let batch = scene.started(10, 3600).await;
        let claims = scene.claim(worker, Lane::Batch, 4).await;
        scene.dispatch(Lane::Batch, 2).await;
        scene.store.finish(worker, &[answered(&claims[0])]).await.unwrap();
        scene.store.cancel_batch(scene.tenant, batch.id).await.unwrap();
        assert!(scene.dispatch(Lane::Batch, 9).await.is_empty(), "nothing starts any more");
        assert_eq!(scene.store.finish(worker, &[answered(&claims[1])]).await.unwrap().won, 1, "what runs may still be in time");
        assert!(scene.store.take_batch(Phase::Assemble, 60.0).await.unwrap().is_none());
        assert_eq!(scene.store.end_unfinished(3).await.unwrap(), 3);
        assert_eq!(scene.store.end_unfinished(100).await.unwrap(), 5);
        assert_eq!(scene.store.lost_claims(worker, &names(&claims[2..])).await.unwrap().len(), 2);
        assert_eq!(scene.store.finish(worker, &[answered(&claims[2])]).await.unwrap().fenced.len(), 1);
        let (batch, _, term) = scene.store.take_batch(Phase::Assemble, 60.0).await.unwrap().unwrap();
        assert_eq!((batch.counts.succeeded, batch.counts.cancelled), (2, 8));
        let states: Vec<_> = scene.store.ended_lines(batch.id, 0, 3).await.unwrap().iter().map(|line| line.state).collect();
        assert_eq!(states, [State::Succeeded, State::Succeeded, State::Cancelled]);
        assert!(scene.store.complete_batch(batch.id, term, None, None).await.unwrap());
        let batch = scene.store.cancel_batch(scene.tenant, batch.id).await.unwrap().unwrap();
        assert_eq!(batch.state, BatchState::Cancelled);
    }

    async fn an_overdue_batch_expires_with_what_it_has(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(4).await;
        let batch = scene.started(5, 3600).await;
        let claims = scene.claim(worker, Lane::Batch, 3).await;
        scene.store.finish(worker, &[answered(&claims[0])]).await.unwrap();
        assert_eq!(scene.store.end_unfinished(100).await.unwrap(), 0, "not yet");
        fresh.close_windows().await;
        assert!(scene.store.take_batch(Phase::Assemble, 60.0).await.unwrap().is_none());
        assert_eq!(scene.store.end_unfinished(100).await.unwrap(), 4);
        assert_eq!(scene.batch(batch.id).await.state, BatchState::InProgress);
        let (batch, _, term) = scene.store.take_batch(Phase::Assemble, 60.0).await.unwrap().unwrap();
        let (output, errors) = (scene.file_of(scene.tenant), scene.file_of(scene.tenant));
        assert!(scene.store.complete_batch(batch.id, term, Some(&output), Some(&errors)).await.unwrap());
        let batch = scene.batch(batch.id).await;
        assert_eq!((batch.state, batch.counts.expired, batch.stamps.expired.is_some()), (BatchState::Expired, 4, true));
        assert_eq!((batch.output_file, batch.error_file), (Some(output.id), Some(errors.id)));
    }

    async fn a_batch_that_finishes_after_its_window_is_completed_all_the_same(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let worker = scene.worker(4).await;
        let batch = scene.started(2, 3600).await;
        let claims = scene.claim(worker, Lane::Batch, 2).await;
        fresh.close_windows().await;
        scene.store.finish(worker, &claims.iter().map(answered).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(scene.store.end_unfinished(100).await.unwrap(), 0);
        assert_eq!(scene.batch(batch.id).await.state, BatchState::Finalizing);
        let refused = scene.store.cancel_batch(scene.tenant, batch.id).await.unwrap().unwrap();
        assert_eq!(refused.state, BatchState::Finalizing, "too late to cancel");
    }

    async fn overdue_single_requests_expire(fresh: Fresh) {
        let scene = Scene::new(&fresh.store).await;
        let (overdue, patient) = (scene.single(0).await, scene.single(600).await);
        assert_eq!(scene.store.end_unfinished(10).await.unwrap(), 1);
        assert_eq!(scene.store.ended_singles(&[overdue, patient]).await.unwrap(), [overdue]);
        assert_eq!(scene.store.single(scene.tenant, overdue).await.unwrap().unwrap().state, State::Expired);
    }
}
