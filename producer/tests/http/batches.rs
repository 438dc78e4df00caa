//! Batches: the create call, paging while more arrive, and cancelling.

use std::collections::BTreeSet;

use backing::store::Phase;
use domain::jsonl;
use serde_json::json;

use crate::app::{App, json_of};

#[tokio::test]
async fn a_batch_is_created_as_asked_and_starts_validating() {
    let app = App::start().await;
    let file = app.upload("{}\n").await;
    let order = json!({
        "input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "2d", "metadata": { "team": "a" },
        "output_expires_after": { "anchor": "created_at", "seconds": 3600 },
        "webhook": { "url": "https://example.com/hook", "secret": "whsec_x" },
    });
    let batch = json_of(app.post("/v1/batches", &order).await, 200).await;
    assert_eq!((&batch["status"], &batch["object"], &batch["completion_window"]), (&json!("validating"), &json!("batch"), &json!("2d")));
    assert_eq!((&batch["metadata"], &batch["input_file_id"]), (&json!({ "team": "a" }), &file["id"]));
    assert_eq!(batch["request_counts"], json!({ "total": 0, "completed": 0, "failed": 0 }));
    assert_eq!(batch["expires_at"].as_i64().unwrap() - batch["created_at"].as_i64().unwrap(), 2 * 24 * 3600);
    assert_eq!(batch["millrace"]["webhook"], "https://example.com/hook");
    assert!(!batch.to_string().contains("whsec_x"));
    let shown = json_of(app.get(&format!("/v1/batches/{}", batch["id"].as_str().unwrap())).await, 200).await;
    assert_eq!(shown, batch);
}

#[tokio::test]
async fn pages_show_each_of_250_batches_once_while_more_arrive() {
    let app = App::start().await;
    let file = app.upload("{}\n").await["id"].as_str().unwrap().to_owned();
    let mut created = BTreeSet::new();
    for _ in 0..250 {
        created.insert(app.create_batch(&file).await["id"].as_str().unwrap().to_owned());
    }
    let mut seen = Vec::new();
    let mut path = "/v1/batches?limit=100".to_owned();
    loop {
        let page = json_of(app.get(&path).await, 200).await;
        seen.extend(page["data"].as_array().unwrap().iter().map(|batch| batch["id"].as_str().unwrap().to_owned()));
        if page["has_more"] == json!(false) {
            break;
        }
        assert_eq!(page["data"].as_array().unwrap().len(), 100);
        path = format!("/v1/batches?limit=100&after={}", page["last_id"].as_str().unwrap());
        app.create_batch(&file).await;
    }
    assert_eq!(seen.len(), 250);
    assert!(seen.iter().rev().is_sorted(), "the newest first");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), created);
}

#[tokio::test]
async fn a_batch_is_cancelled_again_and_again_but_not_after_it_has_failed() {
    let app = App::start().await;
    let file = app.upload("{}\n").await["id"].as_str().unwrap().to_owned();
    let failing = app.create_batch(&file).await["id"].as_str().unwrap().to_owned();
    let (batch, _, term) = app.backing.store.take_batch(Phase::Validate, 60.0).await.unwrap().unwrap();
    assert_eq!(batch.id.to_string(), failing);
    assert!(app.backing.store.reject_batch(batch.id, term, &[jsonl::fault("empty_file", "no lines", None)]).await.unwrap());
    let refused = app.post(&format!("/v1/batches/{failing}/cancel"), &json!({})).await;
    assert_eq!(refused.headers()["x-should-retry"], "false");
    assert_eq!(json_of(refused, 409).await["error"]["code"], "batch_not_cancellable");

    let cancelled = app.create_batch(&file).await["id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let batch = json_of(app.post(&format!("/v1/batches/{cancelled}/cancel"), &json!({})).await, 200).await;
        assert!(batch["cancelling_at"].is_i64() && batch["status"] == "cancelling", "{batch}");
    }
}
