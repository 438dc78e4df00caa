//! No worker is up: what needs no model goes on, and what needs one waits until a worker comes.

use serde_json::json;
use tests::{
    batches::{chat_lines, checked_results},
    pipeline::{Backing, Plan},
    waiting::{PATIENCE, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn without_workers_batches_are_checked_expire_and_are_cancelled_and_the_rest_runs_when_one_comes() {
    let mut pipeline = Plan::new(Backing::Servers).consumers(0).limits("--window-seconds-min 1").start().await;
    pipeline.add_consumer("--roles ingest,deliver,upkeep");
    let client = pipeline.client.clone();
    let input = chat_lines(20);
    let file = client.upload(input.clone()).await;

    let broken = client.create_batch(&client.upload("nonsense\n").await, json!({})).await;
    assert_eq!(client.ended_batch(&broken).await["status"], "failed");

    let brief = client.create_batch(&file, json!({ "completion_window": "3s" })).await;
    let expired = client.ended_batch(&brief).await;
    assert_eq!(expired["status"], "expired");
    let lines = checked_results(&client, &input, &expired).await.errors;
    assert!(lines.len() == 20 && lines.iter().all(|line| line["error"]["code"] == "batch_expired"));

    let unwanted = client.create_batch(&file, json!({})).await;
    eventually("the batch is checked", PATIENCE, async || (client.batch(&unwanted).await["status"] == "in_progress").then_some(())).await;
    client.post(&format!("/v1/batches/{unwanted}/cancel"), &json!({})).await.expect_ok();
    assert_eq!(client.ended_batch(&unwanted).await["status"], "cancelled");

    let patient = client.create_batch(&file, json!({})).await;
    eventually("the batch is checked", PATIENCE, async || (client.batch(&patient).await["status"] == "in_progress").then_some(())).await;
    assert_eq!(client.batch(&patient).await["request_counts"], json!({ "total": 20, "completed": 0, "failed": 0 }));
    pipeline.add_consumer("--roles infer");
    let done = client.ended_batch(&patient).await;
    assert_eq!(done["status"], "completed");
    checked_results(&client, &input, &done).await;
}
