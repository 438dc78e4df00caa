//! Single requests: answered on the connection, answered later, and what becomes of those whose client has gone.

use std::time::Duration;

use backing::store::Body;
use domain::{answer::Outcome, error::ApiError, id::RequestId, request::State, trace::TraceParent};
use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::app::{App, MODEL, chat, json_of};

const CHATS: &str = "/v1/chat/completions";

/// A producer whose waiting calls hear line feeds soon.
async fn impatient() -> App {
    App::start_with(|settings| {
        settings.silence = Duration::from_millis(20);
        settings.keep_alive = Duration::from_millis(20);
    })
    .await
}

async fn prefer(app: &App, preference: &str) -> Response {
    app.call(Method::POST, CHATS).header("prefer", preference).json(&chat()).send().await.unwrap()
}

#[tokio::test]
async fn a_waiting_call_is_answered_with_the_id_of_its_request() {
    let app = App::start().await;
    let mut worker = app.worker().await;
    let body = chat();
    let (response, claimed) = tokio::join!(app.post("/chat/completions", &body), async {
        let claimed = worker.claim().await;
        worker.answer(&claimed, "hello").await;
        claimed
    });
    assert_eq!(claimed.body, Body::Inline(chat().to_string()));
    assert_eq!(response.headers()["x-request-id"].to_str().unwrap(), claimed.id.to_string());
    let answer = json_of(response, 200).await;
    assert_eq!((&answer["choices"][0]["message"]["content"], &answer["object"]), (&json!("hello"), &json!("chat.completion")));
    let again = json_of(app.get(&format!("{CHATS}/{}", answer["id"].as_str().unwrap())).await, 200).await;
    assert_eq!(again, answer);
}

#[tokio::test]
async fn an_early_fault_has_its_own_status_and_is_not_tried_again() {
    let app = App::start().await;
    let mut worker = app.worker().await;
    let fault = ApiError::invalid("context_length_exceeded", "too long").param("messages");
    let body = chat();
    let (response, ()) = tokio::join!(app.post(CHATS, &body), async {
        let claimed = worker.claim().await;
        worker.finish(&claimed, Outcome::refused(&fault)).await;
    });
    assert_eq!(response.headers()["x-should-retry"], "false");
    assert_eq!(json_of(response, 400).await, fault.envelope());
}

#[tokio::test]
async fn a_long_wait_is_filled_with_line_feeds_and_ends_in_the_answer() {
    let app = impatient().await;
    let mut worker = app.worker().await;
    let response = app.post("/v1/completions", &json!({ "model": MODEL, "prompt": [1, 2, 3] })).await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"application/json".parse().unwrap()));
    let mut body = response.bytes_stream();
    let mut text = Vec::new();
    while text.len() < 3 {
        text.extend_from_slice(&body.next().await.unwrap().unwrap());
    }
    assert_eq!(text, b"\n".repeat(text.len()));
    let claimed = worker.claim().await;
    worker.answer(&claimed, "done").await;
    while let Some(chunk) = body.next().await {
        text.extend_from_slice(&chunk.unwrap());
    }
    let answer: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(answer["choices"][0]["text"], "done");
}

#[tokio::test]
async fn a_late_fault_drops_the_connection() {
    let app = impatient().await;
    let mut worker = app.worker().await;
    let response = app.post(CHATS, &chat()).await;
    assert_eq!(response.status(), 200);
    let claimed = worker.claim().await;
    worker.finish(&claimed, Outcome::refused(&ApiError::server())).await;
    assert!(response.text().await.is_err(), "a broken answer looks whole");
}

#[tokio::test]
async fn a_wait_over_the_limit_drops_the_connection() {
    let app = App::start_with(|settings| settings.wait_max = Duration::from_millis(20)).await;
    let call = app.call(Method::POST, CHATS).json(&chat());
    let answer = async { call.send().await?.text().await };
    assert!(answer.await.is_err(), "a broken answer looks whole");
}

#[tokio::test]
async fn whoever_need_not_wait_is_told_where_to_look() {
    let app = App::start().await;
    let response = prefer(&app, "respond-async").await;
    assert_eq!(response.headers()["preference-applied"], "respond-async");
    assert_eq!(response.headers()["retry-after"], "1");
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let stub = json_of(response, 202).await;
    assert_eq!((&stub["object"], &stub["choices"], &stub["millrace"]["status"]), (&json!("chat.completion"), &json!([]), &json!("queued")));
    assert_eq!(json_of(app.get(&location).await, 202).await, stub);

    let mut worker = app.worker().await;
    let claimed = worker.claim().await;
    assert_eq!(json_of(app.get(&location).await, 202).await["millrace"]["status"], "in_progress");
    worker.answer(&claimed, "later").await;
    let answer = json_of(app.get(&location).await, 200).await;
    assert_eq!((&answer["id"], &answer["choices"][0]["message"]["content"]), (&stub["id"], &json!("later")));
}

#[tokio::test]
async fn whoever_waits_a_little_gets_the_answer_if_it_comes_in_time() {
    let app = App::start().await;
    let mut worker = app.worker().await;
    let (response, ()) = tokio::join!(prefer(&app, "respond-async, wait=60"), async {
        let claimed = worker.claim().await;
        worker.answer(&claimed, "in time").await;
    });
    assert_eq!(json_of(response, 200).await["choices"][0]["message"]["content"], "in time");
}

#[tokio::test]
async fn a_request_whose_client_has_gone_is_cancelled_and_one_to_be_looked_for_is_not() {
    let app = App::start_with(|settings| {
        settings.silence = Duration::ZERO;
        settings.vanished_after = Duration::ZERO;
    })
    .await;
    let kept = prefer(&app, "respond-async").await.headers()["x-request-id"].to_str().unwrap().to_owned();
    let response = app.post(CHATS, &chat()).await;
    let id: RequestId = response.headers()["x-request-id"].to_str().unwrap().parse().unwrap();
    drop(response);
    let state = async |id: RequestId| app.backing.store.single(app.tenant, id).await.unwrap().unwrap().state;
    let patience = tokio::time::Instant::now() + Duration::from_secs(10);
    while state(id).await != State::Cancelled {
        assert!(tokio::time::Instant::now() < patience, "not cancelled");
        tokio::task::yield_now().await;
    }
    assert_eq!(state(kept.parse().unwrap()).await, State::Queued);
    let gone = app.get(&format!("/v1/requests/{id}")).await;
    assert_eq!(gone.headers()["x-should-retry"], "false");
    assert_eq!(json_of(gone, 409).await["error"]["code"], "request_cancelled");
}

#[tokio::test]
async fn an_answer_that_comes_after_the_shutdown_still_reaches_its_waiting_call() {
    let app = App::start().await;
    let mut worker = app.worker().await;
    let body = chat();
    let (response, ()) = tokio::join!(app.post(CHATS, &body), async {
        let claimed = worker.claim().await;
        app.begin_to_stop();
        worker.answer(&claimed, "just in time").await;
    });
    assert_eq!(json_of(response, 200).await["choices"][0]["message"]["content"], "just in time");
    app.stop().await;
}

#[tokio::test]
async fn a_large_body_is_an_object_and_the_trace_of_the_caller_goes_on() {
    let app = App::start().await;
    let mut worker = app.worker().await;
    let caller = TraceParent::root();
    let long = "x".repeat(100_000);
    let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": long }] });
    let call = app.call(Method::POST, CHATS).header("prefer", "respond-async").header("traceparent", caller.to_string());
    assert_eq!(call.json(&body).send().await.unwrap().status(), 202);
    let claimed = worker.claim().await;
    let trace: TraceParent = claimed.traceparent.unwrap().parse().unwrap();
    assert_eq!(trace.trace_id(), caller.trace_id());
    let Body::Object { key } = claimed.body else { panic!("{:?}", claimed.body) };
    let stored = app.backing.objects.read_whole(&key, 0, None).await.unwrap();
    assert_eq!(stored, body.to_string());
}

#[tokio::test]
async fn a_hundred_calls_wait_at_once_and_all_are_answered() {
    let app = impatient().await;
    let mut worker = app.worker().await;
    let body = chat();
    let calls = futures::future::join_all((0..100).map(|_| app.post(CHATS, &body)));
    let answering = async {
        for _ in 0..100 {
            let claimed = worker.claim().await;
            worker.answer(&claimed, "yes").await;
        }
    };
    let (responses, ()) = tokio::join!(calls, answering);
    for response in responses {
        assert_eq!(json_of(response, 200).await["choices"][0]["message"]["content"], "yes");
    }
}
