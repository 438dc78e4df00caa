//! What operators look at: health, metrics, the API's description, and how processes leave.

use serde_json::json;
use tests::{
    batches::{chat_lines, checked_results},
    pipeline::{Backing, Plan},
    waiting::{PATIENCE, eventually},
};

crate::on_both_backings!(health_metrics_and_the_description_are_served, three_hundred_chats_at_once_are_all_answered);

async fn health_metrics_and_the_description_are_served(backing: Backing) {
    let pipeline = Plan::new(backing).start().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(pipeline.client.get(path).await.status, 200, "{path}");
    }
    pipeline.client.get("/v1/models").await.expect_ok();
    let metrics = String::from_utf8(pipeline.client.get("/metrics").await.expect_ok().bytes).expect("text");
    assert!(metrics.contains("millrace_"), "{metrics}");
    let description = pipeline.client.get("/openapi.json").await.expect_ok().json();
    for path in ["/v1/files", "/v1/batches", "/v1/batches/{id}", "/v1/chat/completions", "/v1/models"] {
        assert!(description["paths"].get(path).is_some(), "{path} is not described");
    }
}

async fn three_hundred_chats_at_once_are_all_answered(backing: Backing) {
    let pipeline = Plan::new(backing).start().await;
    let body = json!({ "model": "millrace-nano", "messages": [{ "role": "user", "content": "Hello" }], "max_tokens": 8 });
    let mut chats = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let (client, body) = (pipeline.client.clone(), body.clone());
        chats.spawn(async move { client.post("/v1/chat/completions", &body).await.status });
    }
    let statuses = chats.join_all().await;
    assert!(statuses.len() == 300 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_told_to_leave_gives_its_work_back_without_counting_an_attempt() {
    let mut pipeline = Plan::new(Backing::Servers).model("--engine null --null-tokens-per-s 80 --slots 16").start().await;
    let input = chat_lines(120);
    let file = pipeline.client.upload(input.clone()).await;
    let batch = pipeline.client.create_batch(&file, json!({})).await;
    let running = "select count(*) from requests where state = 'running'";
    eventually("requests are running", PATIENCE, async || (pipeline.number(running).await > 0).then_some(())).await;

    let left = pipeline.consumers[0].terminate().await;
    assert!(left.success(), "{left}: {}", pipeline.consumers[0].log());
    assert_eq!(pipeline.number(running).await, 0, "nothing is left claimed");
    assert_eq!(
        pipeline.number("select count(*) from requests where state <> 'succeeded' and attempts > 0").await,
        0,
        "no attempt is counted"
    );
    pipeline.add_consumer("");
    let ended = pipeline.client.ended_batch(&batch).await;
    checked_results(&pipeline.client, &input, &ended).await;
}
