//! The way of a batch and of a single request from acceptance to result.

use backing::store::{Body, Change, Phase};
use domain::{
    batch::State as BatchState,
    request::{Lane, State},
};

use super::{
    on_both,
    scene::{Scene, answered, hear, refused},
};

on_both! {
    /// From the input file to the last result file.
    async fn a_batch_runs_from_validating_to_completed(fresh: Fresh) {
        let store = &fresh.store;
        let scene = Scene::new(store).await;
        let worker = scene.worker(8).await;
        let batch = scene.started(10, 3600).await;
        assert_eq!((batch.state, batch.counts.total, batch.model.as_deref()), (BatchState::InProgress, 10, Some("nano")));
        assert_eq!(batch.metadata.as_ref().unwrap()["night"], "shift");
        assert_eq!(store.dispatchable().await.unwrap(), vec![("nano".to_owned(), Lane::Batch, 16)]);

        let claims = scene.claim(worker, Lane::Batch, 6).await;
        assert_eq!(claims.len(), 6);
        let input = scene.store.file(scene.tenant, batch.input_file).await.unwrap().unwrap();
        let bodies: Vec<Body> = claims.iter().map(|claim| claim.body.clone()).collect();
        let expected: Vec<Body> = (1..=6).map(|line| Body::Range { key: input.key.clone(), offset: line * 100, bytes: 90 }).collect();
        assert_eq!(bodies, expected, "in file order");
        assert_eq!(store.dispatchable().await.unwrap(), vec![("nano".to_owned(), Lane::Batch, 16)], "claimed work leaves the window");

        let mut ended: Vec<_> = claims.iter().map(answered).collect();
        ended[5] = refused(&claims[5]);
        let report = store.finish(worker, &ended).await.unwrap();
        assert_eq!((report.won, report.fenced.len()), (6, 0));
        assert!(store.take_batch(Phase::Assemble, 60.0).await.unwrap().is_none());

        let rest = scene.claim(worker, Lane::Batch, 100).await;
        let mut large = answered(&rest[0]);
        large.key = Some("results/large".into());
        let ended: Vec<_> = std::iter::once(large).chain(rest[1..].iter().map(answered)).collect();
        assert_eq!(store.finish(worker, &ended).await.unwrap().won, 4);

        let (batch, file, term) = store.take_batch(Phase::Assemble, 60.0).await.unwrap().unwrap();
        assert_eq!((batch.state, file.id), (BatchState::Finalizing, input.id));
        assert_eq!((batch.counts.succeeded, batch.counts.failed), (9, 1));
        assert_eq!((batch.usage.prompt, batch.usage.cached, batch.usage.completion, batch.usage.reasoning), (63, 18, 27, 9));
        let lines = store.ended_lines(batch.id, 4, 3).await.unwrap();
        let seen: Vec<_> = lines.iter().map(|line| (line.line, line.custom_id.as_str(), line.state)).collect();
        assert_eq!(seen, [(5, "line-5", State::Succeeded), (6, "line-6", State::Failed), (7, "line-7", State::Succeeded)]);
        assert_eq!(lines[0].result, Some((200, Body::Inline(r#"{"choices":[]}"#.into()))));
        assert_eq!(lines[2].result, Some((200, Body::Object { key: "results/large".into() })));

        assert!(store.keep_batch(batch.id, term, 60.0).await.unwrap());
        let output = scene.file_of(scene.tenant);
        assert!(store.complete_batch(batch.id, term, Some(&output), None).await.unwrap());
        assert!(!store.complete_batch(batch.id, term, Some(&output), None).await.unwrap(), "once");
        let batch = scene.batch(batch.id).await;
        assert_eq!((batch.state, batch.output_file, batch.error_file), (BatchState::Completed, Some(output.id), None));
        assert!(batch.stamps.completed.is_some() && batch.stamps.expired.is_none());
        assert_eq!(store.file(scene.tenant, output.id).await.unwrap(), Some(output));
    }

    /// A synchronous call: accepted, answered, told.
    async fn a_single_request_is_answered_and_its_waiter_is_woken(fresh: Fresh) {
        let store = &fresh.store;
        let scene = Scene::new(store).await;
        let worker = scene.worker(1).await;
        let mut changes = store.changes();
        let id = scene.single(60).await;
        // Whoever hears anything is connected and hears what follows.
        hear(&mut changes, Change::Queued).await;
        assert_eq!(store.dispatchable().await.unwrap(), vec![("nano".to_owned(), Lane::Interactive, 2)]);
        let claims = scene.claim(worker, Lane::Interactive, 2).await;
        assert_eq!(claims[0].body, Body::Inline(r#"{"a":"ü\u0000"}"#.into()));
        assert!(claims[0].traceparent.is_some());
        assert_eq!(store.ended_singles(&[id]).await.unwrap(), []);
        store.finish(worker, &[answered(&claims[0])]).await.unwrap();
        assert_eq!(store.ended_singles(&[id]).await.unwrap(), [id]);
        hear(&mut changes, Change::Ended(id)).await;
        let view = store.single(scene.tenant, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.result), (State::Succeeded, Some((200, Body::Inline(r#"{"choices":[]}"#.into())))));
        let stranger = store.ensure_tenant("stranger").await.unwrap();
        assert!(store.single(stranger, id).await.unwrap().is_none());
        assert!(!store.cancel_single(scene.tenant, id).await.unwrap(), "an ended request stays as it is");
    }
}
