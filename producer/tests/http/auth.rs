//! Keys: who gets in, how fast a revoked one stays out, and that strangers see nothing.

use domain::key::ApiKey;
use reqwest::{Method, Response};
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::app::{App, Form, chat, json_of};

async fn with_key(app: &App, key: &str, path: &str) -> Response {
    app.call(Method::GET, path).bearer_auth(key).send().await.unwrap()
}

async fn key_of(app: &App, tenant: &str, random: u8) -> (ApiKey, domain::id::KeyId) {
    let tenant = app.backing.store.ensure_tenant(tenant).await.unwrap();
    let key = ApiKey::from_random([random; 32]);
    let id = app.backing.store.insert_key(tenant, key.hash(), key.hint()).await.unwrap();
    (key, id)
}

#[tokio::test]
async fn only_a_known_key_opens_and_a_revoked_one_is_shut_out() {
    let app = App::start_with(|settings| settings.open_tenant = None).await;
    let (key, id) = key_of(&app, "owner", 1).await;
    assert_eq!(with_key(&app, key.reveal(), "/v1/batches").await.status(), 200);
    assert_eq!(app.get("/v1/batches").await.status(), 401);
    assert_eq!(with_key(&app, "sk-something", "/v1/batches").await.status(), 401);
    let unknown = ApiKey::from_random([9; 32]);
    let error = json_of(with_key(&app, unknown.reveal(), "/v1/batches").await, 401).await;
    assert_eq!(error["error"]["code"], "invalid_api_key");

    assert!(app.backing.store.revoke_key(id).await.unwrap());
    let second = tokio::time::Instant::now() + std::time::Duration::from_secs(1);
    while with_key(&app, key.reveal(), "/v1/batches").await.status() != 401 {
        assert!(tokio::time::Instant::now() < second, "a revoked key still opens");
    }
}

#[tokio::test]
async fn where_no_key_is_needed_no_page_of_another_site_gets_in() {
    let app = App::start().await;
    let (port, own) = (app.address.rsplit(':').next().unwrap(), format!("http://{}", app.address));
    for (header, value, status) in [
        ("origin", "https://pages.example", 403),
        ("origin", "null", 403),
        ("origin", &own, 200),
        ("host", "pages.example", 403),
        ("host", &format!("127.0.0.1.pages.example:{port}"), 403),
        ("host", &format!("localhost:{port}"), 200),
        ("host", &format!("[::1]:{port}"), 200),
    ] {
        let call = app.call(Method::GET, "/v1/files").header(header, value);
        assert_eq!(call.send().await.unwrap().status(), status, "{header}: {value}");
    }
}

#[tokio::test]
async fn a_stranger_finds_nothing_of_another_tenant() {
    let app = App::start().await;
    let file = app.upload("{}\n").await["id"].as_str().unwrap().to_owned();
    let batch = app.create_batch(&file).await["id"].as_str().unwrap().to_owned();
    let call = app.call(Method::POST, "/v1/chat/completions").header("prefer", "respond-async").json(&chat());
    let request = call.send().await.unwrap().headers()["location"].to_str().unwrap().to_owned();
    let (key, _) = key_of(&app, "stranger", 2).await;
    let key = key.reveal();
    for path in [format!("/v1/files/{file}"), format!("/v1/files/{file}/content"), format!("/v1/batches/{batch}"), request] {
        assert!(app.get(&path).await.status().is_success(), "{path}");
        assert_eq!(with_key(&app, key, &path).await.status(), 404, "{path}");
    }
    for (method, path) in [(Method::DELETE, format!("/v1/files/{file}")), (Method::POST, format!("/v1/batches/{batch}/cancel"))] {
        assert_eq!(app.call(method, &path).bearer_auth(key).send().await.unwrap().status(), 404, "{path}");
    }
    let order = json!({ "input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h" });
    let stolen = app.call(Method::POST, "/v1/batches").bearer_auth(key).json(&order).send().await.unwrap();
    assert_eq!(json_of(stolen, 404).await["error"]["code"], "file_not_found");
    let cursor = with_key(&app, key, &format!("/v1/batches?after={batch}")).await;
    assert_eq!(json_of(cursor, 400).await["error"]["code"], "invalid_cursor");
}

#[tokio::test]
async fn the_key_is_checked_before_the_body_is_read() {
    let app = App::start_with(|settings| settings.open_tenant = None).await;
    let head = format!("POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: 1000000\r\n\r\n", Form::TYPE);
    let mut stream = app.begin(&head).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}
