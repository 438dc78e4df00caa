//! Single requests: answered while one waits, answered later, refused precisely.

use serde_json::{Value, json};
use tests::{
    pipeline::{Backing, Plan},
    waiting::{PATIENCE, eventually},
};

crate::on_both_backings!(
    a_chat_that_waits_is_answered,
    a_chat_that_need_not_wait_is_answered_where_location_says,
    the_model_is_listed,
    bad_requests_get_the_error_envelope_and_a_request_id,
);

fn chat() -> Value {
    json!({ "model": "millrace-nano", "messages": [{ "role": "user", "content": "Classify the document.\n\nReceipt 7" }], "max_tokens": 16 })
}

async fn a_chat_that_waits_is_answered(backing: Backing) {
    let pipeline = Plan::new(backing).start().await;
    let answer = pipeline.client.post("/v1/chat/completions", &chat()).await.expect_ok().json();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("millrace-nano")));
    assert!(answer["choices"][0]["message"]["content"].as_str().is_some_and(|content| !content.is_empty()));
    let usage = |field: &str| answer["usage"][field].as_u64().expect("usage");
    assert_eq!(usage("total_tokens"), usage("prompt_tokens") + usage("completion_tokens"));

    let completion = json!({ "model": "millrace-nano", "prompt": "Once", "max_tokens": 4 });
    let text = pipeline.client.post("/v1/completions", &completion).await.expect_ok().json();
    assert_eq!(text["object"], "text_completion");
}

async fn a_chat_that_need_not_wait_is_answered_where_location_says(backing: Backing) {
    let pipeline = Plan::new(backing).start().await;
    let accepted = pipeline.client.post_with("/v1/chat/completions", ("prefer", "respond-async"), &chat()).await;
    assert_eq!((accepted.status, accepted.header("preference-applied")), (202, "respond-async"));
    let location = accepted.header("location");
    assert!(location.starts_with("/v1/requests/"), "{location}");
    let answer = eventually("the chat is answered", PATIENCE, async || {
        let reply = pipeline.client.get(location).await.expect_ok();
        (reply.status == 200).then(|| reply.json())
    })
    .await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(pipeline.client.get("/v1/requests/req_nothing").await.status, 404);
}

async fn the_model_is_listed(backing: Backing) {
    let pipeline = Plan::new(backing).start().await;
    let list = pipeline.client.get("/v1/models").await.expect_ok().json();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!("millrace-nano")));
    assert_eq!(pipeline.client.get("/v1/models/millrace-nano").await.expect_ok().json()["object"], "model");
    assert_eq!(pipeline.client.get("/v1/models/nobody").await.status, 404);
}

async fn bad_requests_get_the_error_envelope_and_a_request_id(backing: Backing) {
    let pipeline = Plan::new(backing).start().await;
    let client = &pipeline.client;
    let mut stranger = chat();
    stranger["model"] = json!("nobody");
    let replies = [
        (404, client.get("/v1/nothing").await),
        (405, client.delete("/v1/chat/completions").await),
        (404, client.post("/v1/chat/completions", &stranger).await),
        (400, client.post("/v1/chat/completions", &json!({ "model": "millrace-nano" })).await),
        (
            404,
            client
                .post(
                    "/v1/batches",
                    &json!({ "input_file_id": "file-nothing", "endpoint": "/v1/chat/completions", "completion_window": "24h" }),
                )
                .await,
        ),
    ];
    for (status, reply) in replies {
        assert_eq!(reply.status, status, "{}", String::from_utf8_lossy(&reply.bytes));
        assert!(reply.header("x-request-id").starts_with("req_"));
        let error = reply.json()["error"].clone();
        assert!(error["message"].is_string() && error["type"].is_string(), "{error}");
        assert!(error.get("param").is_some() && error.get("code").is_some(), "{error}");
    }
}
