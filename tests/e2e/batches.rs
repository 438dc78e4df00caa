//! Batches as a client sees them: from upload to download, refused files, cancelling, listing.

use serde_json::{Value, json};
use tests::{
    batches::{chat_line, chat_lines, checked_results},
    pipeline::{Backing, Plan},
    servers::{Place, Servers},
    waiting::{PATIENCE, eventually},
};

crate::on_both_backings!(
    a_batch_goes_from_upload_to_download,
    a_file_with_broken_lines_fails_with_their_numbers_and_runs_nothing,
    a_cancelled_batch_keeps_what_was_answered,
    a_list_of_batches_pages_through_each_once,
    a_deleted_file_is_gone,
);

async fn a_batch_goes_from_upload_to_download(backing: Backing) {
    let pipeline = Plan::new(backing).start().await;
    let input = chat_lines(200);
    let file = pipeline.client.upload(input.clone()).await;
    let created = pipeline.client.get(&format!("/v1/files/{file}")).await.expect_ok().json();
    assert_eq!((&created["bytes"], &created["status"]), (&json!(input.len()), &json!("processed")));
    assert_eq!(pipeline.client.get(&format!("/v1/files/{file}/content")).await.expect_ok().bytes, input.as_bytes());

    let batch = pipeline.client.create_batch(&file, json!({ "metadata": { "night": "shift" } })).await;
    let ended = pipeline.client.ended_batch(&batch).await;
    assert_eq!(ended["status"], "completed");
    assert_eq!(ended["metadata"], json!({ "night": "shift" }));
    let stamps = ["created_at", "in_progress_at", "finalizing_at", "completed_at"].map(|stamp| ended[stamp].as_i64().expect(stamp));
    assert!(stamps.is_sorted(), "the stamps go back: {stamps:?}");

    let results = checked_results(&pipeline.client, &input, &ended).await;
    assert_eq!(results.output.len(), 200);
    let answer = &results.output[0]["response"];
    assert_eq!((&answer["status_code"], &answer["body"]["object"]), (&json!(200), &json!("chat.completion")));
}

async fn a_file_with_broken_lines_fails_with_their_numbers_and_runs_nothing(backing: Backing) {
    let pipeline = Plan::new(backing).limits("--line-bytes-max 262144").start().await;
    let with = |custom_id: &str, field: &str, value: Value| {
        let mut line: Value = serde_json::from_str(&chat_line(custom_id, "A document")).expect("JSON");
        line[field] = value;
        line.to_string()
    };
    let lines = [
        chat_line("fine", "A document"),
        "{\"custom_id\": broken".to_owned(),
        chat_line("fine", "The same id again"),
        with("elsewhere", "url", json!("/v1/embeddings")),
        with("stranger", "body", json!({ "model": "nobody", "messages": [{ "role": "user", "content": "?" }] })),
        chat_line("long", &"x".repeat(300_000)),
    ];
    let file = pipeline.client.upload(lines.join("\n")).await;
    let batch = pipeline.client.create_batch(&file, json!({})).await;
    let ended = pipeline.client.ended_batch(&batch).await;

    assert_eq!(ended["status"], "failed");
    let errors: Vec<_> = ended["errors"]["data"].as_array().expect("errors").iter().map(|error| (&error["line"], &error["code"])).collect();
    let expected = [
        (json!(2), json!("invalid_json_line")),
        (json!(3), json!("duplicate_custom_id")),
        (json!(4), json!("url_mismatch")),
        (json!(5), json!("model_not_found")),
        (json!(6), json!("line_too_long")),
    ];
    assert_eq!(errors, expected.iter().map(|(line, code)| (line, code)).collect::<Vec<_>>());
    assert!(ended["errors"]["data"].as_array().expect("errors").iter().all(|error| error["message"].is_string()));
    assert_eq!((&ended["output_file_id"], &ended["error_file_id"]), (&Value::Null, &Value::Null));
    assert_eq!(ended["request_counts"]["completed"], 0);
}

async fn a_cancelled_batch_keeps_what_was_answered(backing: Backing) {
    let pipeline = Plan::new(backing).model("--engine null --null-tokens-per-s 40").start().await;
    let input = chat_lines(500);
    let file = pipeline.client.upload(input.clone()).await;
    let batch = pipeline.client.create_batch(&file, json!({})).await;
    eventually("some lines are answered", PATIENCE, async || {
        let counts = &pipeline.client.batch(&batch).await["request_counts"];
        (counts["completed"].as_u64()? > 0).then_some(())
    })
    .await;

    let cancelled = pipeline.client.post(&format!("/v1/batches/{batch}/cancel"), &json!({})).await.expect_ok().json();
    assert!(["cancelling", "cancelled"].contains(&cancelled["status"].as_str().expect("a status")));
    let ended = pipeline.client.ended_batch(&batch).await;
    assert_eq!(ended["status"], "cancelled");
    let results = checked_results(&pipeline.client, &input, &ended).await;
    assert!(!results.output.is_empty() && !results.errors.is_empty(), "cancelled too early or too late");
    assert!(results.errors.iter().all(|line| line["error"]["code"] == "batch_cancelled"));
    // Cancelling again changes nothing and is no error.
    assert_eq!(pipeline.client.post(&format!("/v1/batches/{batch}/cancel"), &json!({})).await.status, 200);
}

async fn a_list_of_batches_pages_through_each_once(backing: Backing) {
    let pipeline = Plan::new(backing).start().await;
    let file = pipeline.client.upload(chat_lines(1)).await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(pipeline.client.create_batch(&file, json!({})).await);
    }
    made.reverse();

    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let page = pipeline.client.get(&format!("/v1/batches?limit=3{after}")).await.expect_ok().json();
        let ids = page["data"].as_array().expect("a page").iter().map(|batch| batch["id"].as_str().expect("an id").to_owned());
        listed.extend(ids);
        if page["has_more"] == false {
            break;
        }
        after = format!("&after={}", page["last_id"].as_str().expect("the last id"));
    }
    assert_eq!(listed, made, "newest first, each once");
    let wrong = pipeline.client.get("/v1/batches?after=batch_nonsense").await;
    assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (400, &json!("invalid_cursor")));
}

async fn a_deleted_file_is_gone(backing: Backing) {
    let pipeline = Plan::new(backing).start().await;
    let file = pipeline.client.upload(chat_lines(1)).await;
    let deleted = pipeline.client.delete(&format!("/v1/files/{file}")).await.expect_ok().json();
    assert_eq!(deleted, json!({ "id": file, "object": "file", "deleted": true }));
    for path in [format!("/v1/files/{file}"), format!("/v1/files/{file}/content")] {
        assert_eq!(pipeline.client.get(&path).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_runs_on_seaweedfs_too() {
    let servers = Servers::start(&["seaweedfs"]);
    let own = servers.addresses();
    let objects_url = own["MILLRACE_TEST_SEAWEEDFS_URL"].clone();
    let mut place = Place::fresh().await;
    place.environment = own.into_iter().filter(|(name, _)| name.starts_with("AWS_")).collect();
    place.objects_url = objects_url;

    let pipeline = Plan::new(Backing::Servers).on(place).start().await;
    // Several parts of a multipart upload, and results worth a file.
    let input: String = (0..3_000).map(|number| chat_line(&format!("line-{number}"), &"A long document. ".repeat(300)) + "\n").collect();
    let file = pipeline.client.upload(input.clone()).await;
    let batch = pipeline.client.create_batch(&file, json!({})).await;
    let ended = pipeline.client.ended_batch(&batch).await;
    assert_eq!(ended["status"], "completed");
    checked_results(&pipeline.client, &input, &ended).await;
}
