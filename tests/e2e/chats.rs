//! Single requests: answered while one waits, answered later, refused precisely.

use serde_json::{Value, json};
use tests::{
    batches::checked_results,
    pipeline::{Backing, Plan},
    waiting::{PATIENCE, eventually},
};

crate::on_both_backings!(
    a_chat_that_waits_is_answered,
    three_choices_are_one_answer_and_one_charge_alone_and_in_a_batch,
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

async fn three_choices_are_one_answer_and_one_charge_alone_and_in_a_batch(backing: Backing) {
    let pipeline = Plan::new(backing).model("").start().await;
    let client = &pipeline.client;
    let with = |n: u32| {
        let mut body = chat();
        let wishes = json!({ "n": n, "seed": 7, "temperature": 1.5, "ignore_eos": true, "logprobs": true, "return_token_ids": true });
        body.as_object_mut().expect("an object").extend(wishes.as_object().cloned().expect("an object"));
        body
    };
    let one = client.post("/v1/chat/completions", &with(1)).await.expect_ok().json();
    let three = client.post("/v1/chat/completions", &with(3)).await.expect_ok().json();
    let choices = three["choices"].as_array().expect("choices");
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64()).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    assert_eq!(choices[0], one["choices"][0]);
    for choice in choices {
        assert_eq!((choice["token_ids"].as_array().map(Vec::len), &choice["finish_reason"]), (Some(16), &json!("length")));
        assert_eq!(choice["logprobs"]["content"].as_array().map(Vec::len), Some(16));
        assert_eq!(choices.iter().filter(|other| other["token_ids"] == choice["token_ids"]).count(), 1);
    }
    assert_eq!(three["usage"]["prompt_tokens"], one["usage"]["prompt_tokens"]);
    assert_eq!(three["usage"]["completion_tokens"], 3 * 16);

    let line = json!({ "custom_id": "three", "method": "POST", "url": "/v1/chat/completions", "body": with(3) }).to_string();
    let batch = client.create_batch(&client.upload(line.clone()).await, json!({})).await;
    let results = checked_results(client, &line, &client.ended_batch(&batch).await).await;
    assert_eq!(results.output[0]["response"]["body"]["choices"], three["choices"]);
    assert_eq!(pipeline.number("select count(*) from charges").await, 3);
    assert_eq!(pipeline.number("select cast(sum(completion_tokens) as bigint) from charges").await, 16 + 2 * 3 * 16);
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
    let mut greedy = chat();
    greedy["n"] = json!(17);
    let replies = [
        (404, client.get("/v1/nothing").await),
        (405, client.delete("/v1/chat/completions").await),
        (404, client.post("/v1/chat/completions", &stranger).await),
        (400, client.post("/v1/chat/completions", &json!({ "model": "millrace-nano" })).await),
        (400, client.post("/v1/chat/completions", &greedy).await),
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
