//! Tenants: who needs a key, and that nobody sees what is another's.

use serde_json::json;
use tests::{
    batches::chat_lines,
    client::Client,
    pipeline::{Backing, Plan},
    process,
    waiting::{PATIENCE, eventually},
};

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_things_do_not_exist() {
    let pipeline = Plan::new(Backing::Servers).start().await;
    let file = pipeline.client.upload(chat_lines(1)).await;
    let batch = pipeline.client.create_batch(&file, json!({})).await;
    pipeline.client.ended_batch(&batch).await;

    let stranger = pipeline.client_of("stranger");
    for path in [format!("/v1/files/{file}"), format!("/v1/files/{file}/content"), format!("/v1/batches/{batch}")] {
        assert_eq!(stranger.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(stranger.post(&format!("/v1/batches/{batch}/cancel"), &json!({})).await.status, 404);
    assert_eq!(stranger.get("/v1/batches").await.expect_ok().json()["data"], json!([]));
    let stolen = json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    assert_eq!(stranger.post("/v1/batches", &stolen).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_key_nothing_is_served_and_a_revoked_one_stops_working() {
    let pipeline = Plan::new(Backing::Servers).start().await;
    for key in [None, Some("sk-wrong")] {
        let refused = Client::new(pipeline.client.url(), key).get("/v1/batches").await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    }

    let [flag, database] = &pipeline.database;
    let created = process::run(&["key", "create", "--json", "--tenant", "brief", flag, database]);
    let key: serde_json::Value = serde_json::from_slice(&created.stdout).expect("one JSON object");
    let client = Client::new(pipeline.client.url(), key["key"].as_str());
    client.get("/v1/batches").await.expect_ok();
    let revoked = process::run(&["key", "revoke", key["id"].as_str().expect("an id"), flag, database]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    eventually("the revoked key is refused", PATIENCE, async || (client.get("/v1/batches").await.status == 401).then_some(())).await;
}

#[test]
fn an_embedded_server_without_keys_refuses_to_listen_beyond_loopback() {
    let state = tempfile::tempdir().expect("a folder");
    let state = state.path().display().to_string();
    let refused = process::run(&["serve", "--engine", "null", "--listen", "0.0.0.0:0", "--state", &state]);
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("millrace key create"), "the message does not say what to do: {message}");
}
