//! `millrace batch list`, `show` and `cancel`: batches as a person reads them.

use serde_json::{Value, json};

use crate::client::Client;

pub async fn list(client: &Client, limit: u32, json: bool) -> anyhow::Result<()> {
    let page = client.get(&format!("/v1/batches?limit={limit}")).await?;
    for batch in page["data"].as_array().into_iter().flatten() {
        if json {
            println!("{batch}");
        } else {
            println!("{}  {:11}  {}", text(&batch["id"]), text(&batch["status"]), progress(batch));
        }
    }
    Ok(())
}

pub async fn one(client: &Client, id: &str, json: bool) -> anyhow::Result<()> {
    let batch = client.get(&format!("/v1/batches/{id}")).await?;
    if json {
        println!("{batch}");
    } else {
        print(&batch);
    }
    Ok(())
}

pub async fn cancel(client: &Client, id: &str, json: bool) -> anyhow::Result<()> {
    let batch = client.post(&format!("/v1/batches/{id}/cancel"), &json!({})).await?;
    if json {
        println!("{batch}");
    } else {
        print(&batch);
    }
    Ok(())
}

/// Prints what matters of a batch, and what to do next.
pub fn print(batch: &Value) {
    println!("{}  {}  {}", text(&batch["id"]), text(&batch["status"]), progress(batch));
    if let Some(total) = batch["usage"]["total_tokens"].as_u64() {
        println!("tokens: {total} ({} in, {} out)", batch["usage"]["input_tokens"], batch["usage"]["output_tokens"]);
    }
    for error in batch["errors"]["data"].as_array().into_iter().flatten() {
        let line = error["line"].as_u64().map(|line| format!("line {line}: ")).unwrap_or_default();
        println!("{line}{} ({})", text(&error["message"]), text(&error["code"]));
    }
    if batch["output_file_id"].is_string() || batch["error_file_id"].is_string() {
        eprintln!("next: millrace batch download {} -o results.jsonl", text(&batch["id"]));
    }
}

fn progress(batch: &Value) -> String {
    let counts = &batch["request_counts"];
    let failed = counts["failed"].as_u64().unwrap_or(0);
    let suffix = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("{}/{} answered{suffix}", counts["completed"], counts["total"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}
