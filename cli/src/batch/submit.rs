//! `millrace batch submit`: upload, then create.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::watch;
use crate::client::Server;

#[derive(clap::Args)]
pub struct Args {
    /// The batch file.
    input: PathBuf,
    #[command(flatten)]
    server: Server,
    /// Time in which the batch must be done, such as `24h` or `7d`.
    #[arg(long, default_value = "24h")]
    window: String,
    /// URL that gets the signed event when the batch has ended.
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// A note on the batch, as `key=value`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Follow the batch until it ends.
    #[arg(long)]
    watch: bool,
    /// Print the batch as JSON.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let endpoint = endpoint_of(&args.input)?;
    let file = client.upload(&args.input).await?;
    let mut body = json!({ "input_file_id": file["id"], "endpoint": endpoint, "completion_window": args.window });
    if let Some(url) = &args.webhook {
        body["webhook"] = json!({ "url": url });
    }
    if !args.metadata.is_empty() {
        let pairs: Map<String, Value> = args.metadata.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        body["metadata"] = pairs.into();
    }
    let batch = client.post("/v1/batches", &body).await?;
    let id = batch["id"].as_str().context("the server sent a batch without an id")?;
    if args.watch {
        eprintln!("{id}");
        return watch::run(&client, id, args.json).await;
    }
    if args.json {
        println!("{batch}");
    } else {
        println!("{id}");
        eprintln!("next: millrace batch watch {id}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The endpoint that the first line names; the server checks all the others against it.
pub fn endpoint_of(input: &Path) -> anyhow::Result<String> {
    let file = File::open(input).with_context(|| format!("cannot read `{}`", input.display()))?;
    let mut lines = BufReader::new(file).lines();
    let first = loop {
        match lines.next() {
            Some(line) if line.as_ref().is_ok_and(|line| line.trim().is_empty()) => {}
            Some(line) => break line?,
            None => anyhow::bail!("`{}` is empty", input.display()),
        }
    };
    let line: Value = serde_json::from_str(first.trim_start_matches('\u{feff}'))
        .with_context(|| format!("the first line of `{}` is not JSON", input.display()))?;
    line["url"].as_str().map(str::to_owned).with_context(|| format!("the first line of `{}` has no `url`", input.display()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "expected KEY=VALUE".to_owned())
}
