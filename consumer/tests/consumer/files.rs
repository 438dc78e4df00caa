//! Files in and files out: what is wrong with an input file, and what stands in the result files.

use consumer::{Role, Step, ingest::ingest_once, settings::LeaseSettings};
use domain::{batch::State, limits::Limits};
use serde_json::{Value, json};

use crate::bench::{Bench, line, lines, roles, settings};

async fn ingest(bench: &Bench, limits: &Limits) {
    while ingest_once(&bench.backing, limits, &LeaseSettings::default()).await.unwrap() == Step::Worked {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_fails_its_batch_with_a_code_and_a_line_for_each_fault_and_nothing_runs() {
    let bench = Bench::new().await;
    let text = [
        line("good", json!({})),
        "{\n".to_owned(),
        line("good", json!({})),
        line("url", json!({})).replace("chat/completions", "completions"),
        line("model", json!({ "model": "unknown" })),
        line("long", json!({ "user": "x".repeat(300) })),
    ]
    .concat();
    let batch = bench.submit(&text).await;
    ingest(&bench, &Limits { line_bytes_max: 256, ..Limits::default() }).await;

    let batch = bench.batch(batch).await;
    assert_eq!((batch.state, batch.usage.total()), (State::Failed, 0));
    let found: Vec<_> = batch.errors.iter().map(|error| (error.code.as_str(), error.line)).collect();
    let expected =
        [("invalid_json_line", 2), ("duplicate_custom_id", 3), ("url_mismatch", 4), ("model_not_found", 5), ("line_too_long", 6)];
    assert_eq!(found, expected.map(|(code, line)| (code, Some(line))));
    assert!(batch.errors.iter().all(|error| !error.message.is_empty()));

    let (_, consumer) = bench.consume(roles(settings(None, 4), &[Role::Infer]));
    bench.until("a worker is there", async || bench.backing.store.live_workers().await.unwrap().pop()).await;
    assert_eq!(bench.dispatch().await, 0, "a line of a refused file was dispatched");
    bench.consumers.cancel();
    consumer.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_a_vanished_file_and_too_many_lines_are_refused() {
    let bench = Bench::new().await;
    let empty = bench.submit("\n\n").await;
    let many = bench.submit(&lines(3, json!({}))).await;
    let file = bench.upload("x").await;
    let gone = bench.batch_of(file, 60, None).await;
    let key = bench.backing.store.file(bench.tenant, file).await.unwrap().unwrap().key;
    bench.backing.objects.delete(&key).await.unwrap();
    ingest(&bench, &Limits { lines_max: 2, ..Limits::default() }).await;
    for (batch, code) in [(empty, "empty_file"), (many, "too_many_tasks"), (gone, "input_file_gone")] {
        let batch = bench.batch(batch).await;
        assert_eq!((batch.state, batch.errors[0].code.as_str()), (State::Failed, code));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_tried_until_its_batch_is_overdue() {
    let bench = Bench::new().await;
    let file = bench.upload("x").await;
    let key = bench.backing.store.file(bench.tenant, file).await.unwrap().unwrap().key;
    let path = bench.object_path(&key);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let try_once = async || ingest_once(&bench.backing, &Limits::default(), &LeaseSettings::default()).await;

    let patient = bench.batch_of(file, 60, None).await;
    try_once().await.expect_err("a folder is no file");
    assert_eq!(bench.batch(patient).await.state, State::Validating);
    let overdue = bench.batch_of(file, 0, None).await;
    try_once().await.expect_err("a folder is no file");
    let overdue = bench.batch(overdue).await;
    assert_eq!((overdue.state, overdue.errors[0].code.as_str()), (State::Failed, "input_file_unreadable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_result_that_is_gone_is_told_in_the_error_file() {
    let bench = Bench::new().await;
    let large = line("large", json!({ "max_tokens": 20_000, "ignore_eos": true }));
    let batch = bench.submit(&(lines(1, json!({})) + &large)).await;
    bench.consume(roles(settings(None, 4), &[Role::Ingest, Role::Infer]));
    bench.until("both lines end", async || (bench.batch(batch).await.counts.succeeded == 2).then_some(())).await;
    std::fs::remove_dir_all(bench.object_path("results")).unwrap();

    bench.consume(roles(settings(None, 4), &[Role::Deliver]));
    let batch = bench.ended(batch).await;
    assert_eq!(bench.lines(batch.output_file).await.len(), 1);
    let errors = bench.lines(batch.error_file).await;
    assert_eq!((&errors[0]["custom_id"], &errors[0]["response"]["status_code"]), (&json!("large"), &json!(500)));
    assert_eq!(errors[0]["response"]["body"]["error"]["code"], "result_lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_the_whole_way_and_each_line_is_in_one_result_file() {
    let bench = Bench::new().await;
    // More than one chunk of lines and one page of results; one answer too large for the store; one body that no model takes.
    let large = line("large", json!({ "max_tokens": 20_000, "ignore_eos": true }));
    let batch = bench.submit(&(lines(2_500, json!({})) + &large)).await;
    bench.consume(settings(None, 64));

    let batch = bench.ended(batch).await;
    assert_eq!((batch.state, batch.counts.total, batch.counts.succeeded), (State::Completed, 2_501, 2_501));
    assert_eq!((batch.model.as_deref(), batch.error_file), (Some("null"), None));
    let output = bench.lines(batch.output_file).await;
    let ids: Vec<_> = output.iter().map(|line| line["custom_id"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<_> = (0..2_500).map(|n| format!("line-{n}")).chain(["large".to_owned()]).collect();
    assert_eq!(ids, expected);
    let total: u64 = output.iter().map(|line| line["response"]["body"]["usage"]["total_tokens"].as_u64().unwrap()).sum();
    assert_eq!(total, batch.usage.total());
    let answer = |line: &Value| line["response"]["body"]["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert_eq!(answer(&output[0]), "This is what the null engine always says.");
    assert!(answer(&output[2_500]).len() > 64 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_batches_are_checked_expire_and_are_cancelled_and_the_rest_runs_when_one_comes() {
    let bench = Bench::new().await;
    bench.consume(roles(settings(None, 4), &[Role::Ingest, Role::Deliver, Role::Upkeep]));
    let text = lines(10, json!({}));
    let file = bench.upload(&text).await;
    let (brief, unwanted, patient) =
        (bench.batch_of(file, 1, None).await, bench.batch_of(file, 86_400, None).await, bench.batch_of(file, 86_400, None).await);

    let expired = bench.ended(brief).await;
    assert_eq!((expired.state, expired.counts.expired, expired.output_file), (State::Expired, 10, None));
    assert!(bench.lines(expired.error_file).await.iter().all(|line| line["error"]["code"] == "batch_expired"));

    bench.until("the batch runs", async || (bench.batch(unwanted).await.state == State::InProgress).then_some(())).await;
    bench.backing.store.cancel_batch(bench.tenant, unwanted).await.unwrap();
    let cancelled = bench.ended(unwanted).await;
    assert_eq!((cancelled.state, cancelled.counts.cancelled), (State::Cancelled, 10));
    let errors = bench.lines(cancelled.error_file).await;
    assert!(errors.len() == 10 && errors.iter().all(|line| line["error"]["code"] == "batch_cancelled"));

    bench.consume(roles(settings(None, 4), &[Role::Infer]));
    let completed = bench.ended(patient).await;
    assert_eq!((completed.state, completed.counts.succeeded), (State::Completed, 10));
}
