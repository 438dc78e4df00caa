//! Every failure has OpenAI's envelope and a request id, whatever is at fault.

use domain::{id::FileId, limits::CHOICES_MAX, request::Endpoint};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::app::{App, Form, MODEL, chat};

async fn assert_refused(response: Response, status: u16, code: &str, what: &str) {
    assert_eq!(response.status().as_u16(), status, "{what}");
    assert!(response.headers()["x-request-id"].to_str().unwrap().starts_with("req_"), "{what}");
    assert_eq!(response.headers()["content-type"], "application/json", "{what}");
    let body: Value = response.json().await.unwrap();
    let error = body["error"].as_object().unwrap();
    let keys: Vec<&str> = error.keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 4, "{what}: {keys:?}");
    assert_eq!(error["code"], code, "{what}: {body}");
    assert!(error["type"].is_string() && error["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
}

#[tokio::test]
async fn every_kind_of_failure_has_the_envelope_and_a_request_id() {
    let app = App::start_with(|settings| settings.limits.body_bytes_max = 1000).await;
    let long = "x".repeat(2000);
    let json_call = |path: &str, text: &str| app.call(Method::POST, path).header("content-type", "application/json").body(text.to_owned());
    let with = |extra: Value| {
        let mut body = chat();
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body.to_string()
    };
    let chats = "/v1/chat/completions";
    let unknown_model = json!({ "model": "nobody", "prompt": "hi" }).to_string();
    for (status, code, call) in [
        (404, "not_found", app.call(Method::GET, "/v1/nothing")),
        (404, "not_found", app.call(Method::GET, "/v1/batches/batch_nothing")),
        (404, "not_found", app.call(Method::GET, "/v1/requests/req_nothing")),
        (404, "file_not_found", app.call(Method::GET, "/v1/files/file-nothing/content")),
        (404, "model_not_found", app.call(Method::GET, "/v1/models/nobody")),
        (404, "model_not_found", json_call("/v1/completions", &unknown_model)),
        (405, "method_not_allowed", app.call(Method::DELETE, chats)),
        (405, "method_not_allowed", app.call(Method::PATCH, "/v1/files")),
        (413, "request_too_large", json_call(chats, &long)),
        (415, "unsupported_media_type", app.call(Method::POST, chats).body(chat().to_string())),
        (415, "unsupported_media_type", json_call(chats, "{}").header("content-encoding", "gzip")),
        (415, "unsupported_media_type", app.call(Method::POST, "/v1/files").body("x")),
        (400, "invalid_json", json_call(chats, "{")),
        (400, "invalid_json", json_call("/v1/batches", "[]")),
        (400, "missing_required_parameter", json_call(chats, "{}")),
        (400, "invalid_value", json_call(chats, &with(json!({ "temperature": 3 })))),
        (400, "unsupported_parameter", json_call(chats, &with(json!({ "stream": true })))),
        (400, "invalid_value", app.call(Method::GET, "/v1/batches?limit=0")),
        (400, "invalid_value", app.call(Method::GET, "/v1/batches?limit=1&limit=2")),
        (400, "invalid_cursor", app.call(Method::GET, "/v1/batches?after=20")),
        (400, "invalid_value", app.call(Method::GET, "/v1/files?order=up")),
        (400, "invalid_cursor", app.call(Method::GET, &format!("/v1/files?after={}", FileId::new()))),
    ] {
        let what = format!("{status} {code} {call:?}");
        assert_refused(call.send().await.unwrap(), status, code, &what).await;
    }
}

#[tokio::test]
async fn a_body_whose_length_is_not_announced_is_cut_at_the_limit() {
    let app = App::start_with(|settings| settings.limits.body_bytes_max = 1000).await;
    let chunks = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    let call = app.call(Method::POST, "/v1/completions").header("content-type", "application/json");
    let response = call.body(reqwest::Body::wrap_stream(chunks)).send().await.unwrap();
    assert_refused(response, 413, "request_too_large", "chunked").await;
}

#[tokio::test]
async fn unknown_parameters_are_ignored_and_named() {
    let app = App::start().await;
    let mut body = chat();
    body["frobnicate"] = json!(1);
    let call = app.call(Method::POST, "/v1/chat/completions").header("prefer", "respond-async").json(&body);
    let response = call.send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-millrace-ignored-params"]), (202, &"frobnicate".parse().unwrap()));
}

#[tokio::test]
async fn a_form_without_a_file_or_with_a_wrong_purpose_is_refused() {
    let app = App::start().await;
    assert_refused(Form::new().field("purpose", "batch").send(&app).await, 400, "missing_required_parameter", "no file").await;
    assert_refused(Form::new().file("a", "x").send(&app).await, 400, "missing_required_parameter", "no purpose").await;
    let wrong = Form::new().file("a", "x").field("purpose", "vision");
    assert_refused(wrong.send(&app).await, 400, "unsupported_parameter", "wrong purpose").await;
    let short = Form::new().file("a", "x").field("purpose", "batch").field("expires_after[anchor]", "created_at");
    assert_refused(short.field("expires_after[seconds]", "1").send(&app).await, 400, "invalid_value", "short life").await;
}

#[tokio::test]
async fn models_are_found_by_raw_and_by_encoded_names_with_and_without_the_prefix() {
    let app = App::start().await;
    for path in ["/v1/models/org/tiny", "/v1/models/org%2Ftiny", "/models/org/tiny"] {
        let model: Value = app.get(path).await.json().await.unwrap();
        assert_eq!((&model["id"], &model["object"]), (&json!(MODEL), &json!("model")), "{path}");
    }
    let list: Value = app.get("/models").await.json().await.unwrap();
    assert_eq!(list["data"][0]["millrace"]["state"], "offline");
}

#[tokio::test]
async fn health_metrics_and_the_description_of_the_api_are_served_without_a_key() {
    let app = App::start_with(|settings| settings.open_tenant = None).await;
    let ready: Value = app.get("/readyz").await.json().await.unwrap();
    assert_eq!((&ready["store"], &ready["objects"]), (&json!(true), &json!(true)));
    assert_eq!(app.get("/livez").await.status(), 200);
    assert!(app.get("/metrics").await.text().await.unwrap().contains("millrace_http_requests_total"));
    let description: Value = app.get("/openapi.json").await.json().await.unwrap();
    for path in ["/v1/files/{id}/content", "/v1/batches/{id}/cancel", "/v1/chat/completions", "/v1/requests/{id}"] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
    for endpoint in Endpoint::ALL {
        let body = &description["paths"][endpoint.path()]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let n = &body["properties"]["n"];
        assert_eq!((&n["minimum"], &n["maximum"]), (&json!(1), &json!(CHOICES_MAX)), "{body}");
    }
    let page = app.get("/docs").await;
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
}
