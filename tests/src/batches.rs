//! Lines of batch files, and what must hold for the results of every batch, whatever happened on the way.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::Client;

/// A chat request as a line, without its end.
pub fn chat_line(custom_id: &str, content: &str) -> String {
    let body = json!({ "model": "millrace-nano", "messages": [{ "role": "user", "content": content }], "max_tokens": 32 });
    json!({ "custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body }).to_string()
}

/// A batch file of that many chats; the ids are `line-0` and so on.
pub fn chat_lines(count: usize) -> String {
    (0..count).map(|number| chat_line(&format!("line-{number}"), &format!("Document number {number}")) + "\n").collect()
}

/// The results of an ended batch.
pub struct Results {
    pub output: Vec<Value>,
    pub errors: Vec<Value>,
}

/// Downloads the results and checks them: every line of the input is answered exactly once, and counters and usage agree with a recount.
pub async fn checked_results(client: &Client, input: &str, batch: &Value) -> Results {
    let results = Results { output: client.results(&batch["output_file_id"]).await, errors: client.results(&batch["error_file_id"]).await };
    let answered: Vec<_> = results.output.iter().chain(&results.errors).map(custom_id).collect();
    let once: BTreeSet<_> = answered.iter().cloned().collect();
    assert_eq!(answered.len(), once.len(), "a line was answered twice");
    assert_eq!(
        once,
        input.lines().map(|line| custom_id(&serde_json::from_str(line).expect("JSON"))).collect(),
        "not the lines of the input"
    );

    let counts = json!({ "total": answered.len(), "completed": results.output.len(), "failed": results.errors.len() });
    assert_eq!(batch["request_counts"], counts, "the counters disagree with the files");
    let sum =
        |field: &str| -> u64 { results.output.iter().map(|line| line["response"]["body"]["usage"][field].as_u64().expect("usage")).sum() };
    assert_eq!(batch["usage"]["input_tokens"], sum("prompt_tokens"), "the prompt tokens disagree");
    assert_eq!(batch["usage"]["output_tokens"], sum("completion_tokens"), "the generated tokens disagree");
    assert_eq!(batch["usage"]["total_tokens"], sum("total_tokens"), "the sum of tokens disagrees");
    results
}

fn custom_id(line: &Value) -> String {
    line["custom_id"].as_str().expect("every line has a custom_id").to_owned()
}
