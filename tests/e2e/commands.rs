//! The client commands, as an operator or a nightly job calls them: `millrace batch make|submit|watch|list|show|cancel|download`.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use tests::{
    batches::chat_lines,
    pipeline::{Backing, Pipeline, Plan, words},
    process::millrace,
};

crate::on_both_backings!(a_folder_of_documents_is_made_into_a_batch_submitted_and_downloaded, a_batch_is_cancelled_by_command);

async fn a_folder_of_documents_is_made_into_a_batch_submitted_and_downloaded(backing: Backing) {
    let pipeline = Plan::new(backing).start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let letters = folder.path().join("letters");
    fs::create_dir(&letters).expect("a folder");
    for number in 0..5 {
        fs::write(letters.join(format!("letter-{number}.txt")), format!("Dear Sir, number {number}")).expect("a letter");
    }
    let (task, input, results) = (folder.path().join("task.txt"), folder.path().join("input.jsonl"), folder.path().join("results.jsonl"));
    fs::write(&task, "Summarise this letter.").expect("an instruction");
    command(&pipeline, "batch make", &[&letters, Path::new("--instruction"), &task, Path::new("-o"), &input]);
    assert_eq!(fs::read_to_string(&input).expect("the batch file").lines().count(), 5);

    let submitted = last_json(&command(&pipeline, "batch submit --json --watch", &[&input]));
    let batch = submitted["id"].as_str().expect("an id");
    let watched = last_json(&command(&pipeline, "batch watch --json", &[Path::new(batch)]));
    assert_eq!((&watched["status"], &watched["request_counts"]["completed"]), (&json!("completed"), &json!(5)));
    assert_eq!(last_json(&command(&pipeline, "batch show --json", &[Path::new(batch)])), pipeline.client.batch(batch).await);
    assert!(command(&pipeline, "batch list --json", &[]).contains(batch));

    command(&pipeline, "batch download", &[Path::new(batch), Path::new("-o"), &results]);
    let lines = fs::read_to_string(&results).expect("the results");
    assert!(lines.lines().count() == 5 && lines.contains("letter-3"), "{lines}");
}

async fn a_batch_is_cancelled_by_command(backing: Backing) {
    let pipeline = Plan::new(backing).model("--engine null --null-tokens-per-s 8").start().await;
    let file = pipeline.client.upload(chat_lines(200)).await;
    let batch = pipeline.client.create_batch(&file, json!({})).await;
    command(&pipeline, "batch cancel --json", &[Path::new(&batch)]);
    assert_eq!(pipeline.client.ended_batch(&batch).await["status"], "cancelled");
}

/// Runs a client command against a pipeline and returns its standard output; it must succeed.
fn command(pipeline: &Pipeline, command: &str, paths: &[&Path]) -> String {
    let mut environment = BTreeMap::from([("MILLRACE_URL".to_owned(), pipeline.client.url().to_owned())]);
    environment.extend(pipeline.client.key().map(|key| ("MILLRACE_API_KEY".to_owned(), key.to_owned())));
    let output = millrace(&environment).args(words(command)).args(paths).output().expect("the binary can be run");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The last JSON document that a command printed.
fn last_json(output: &str) -> Value {
    let documents: Vec<Value> = serde_json::Deserializer::from_str(output).into_iter().map(|value| value.expect("JSON")).collect();
    documents.last().expect("a document").clone()
}
