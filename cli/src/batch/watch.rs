//! `millrace batch watch`: a progress bar until the batch has ended.

use std::{process::ExitCode, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::show;
use crate::client::Client;

const POLL: Duration = Duration::from_secs(1);
/// A server that restarts must not end the watch; one that stays away must.
const FAILURES_MAX: u32 = 60;

pub async fn run(client: &Client, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{msg:12} [{bar:40}] {pos}/{len}  {per_sec}  {eta} left")?);
    let batch = follow(client, id, &bar).await?;
    bar.finish_and_clear();
    if json {
        println!("{batch}");
    } else {
        show::print(&batch);
    }
    Ok(if batch["status"] == "completed" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn follow(client: &Client, id: &str, bar: &ProgressBar) -> anyhow::Result<Value> {
    let path = format!("/v1/batches/{id}");
    let mut failures = 0;
    loop {
        let batch = match client.get(&path).await {
            Ok(batch) => batch,
            Err(error) if failures >= FAILURES_MAX || failures == 0 && bar.length() == Some(0) => return Err(error),
            Err(error) => {
                failures += 1;
                bar.set_message(format!("{error}"));
                tokio::time::sleep(POLL).await;
                continue;
            }
        };
        failures = 0;
        let counts = &batch["request_counts"];
        let count = |name: &str| counts[name].as_u64().unwrap_or(0);
        bar.set_length(count("total"));
        bar.set_position(count("completed") + count("failed"));
        let status = batch["status"].as_str().unwrap_or("?").to_owned();
        bar.set_message(status.clone());
        if matches!(status.as_str(), "completed" | "failed" | "expired" | "cancelled") {
            return Ok(batch);
        }
        tokio::time::sleep(POLL).await;
    }
}
