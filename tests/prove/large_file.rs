//! A batch file of 50,000 lines and 200 MB through the whole pipeline with the null engine, so that only our own work is measured.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{
    batches::{chat_line, checked_results},
    pipeline::{Backing, Pipeline, Plan},
    process::Process,
    waiting::eventually,
};

use crate::figures::Figures;

const LINES: usize = 50_000;
/// Characters of each document: 200 MB in all.
const DOCUMENT: usize = 3_800;
const MEBIBYTE: f64 = (1 << 20) as f64;

pub(crate) async fn prove(figures: &mut Figures) {
    let document = "All work and no play. ".repeat(DOCUMENT / 22);
    let input: String = (0..LINES).map(|number| chat_line(&format!("line-{number}"), &document) + "\n").collect();
    figures.note("input, MiB", input.len() as f64 / MEBIBYTE);
    for (name, backing) in [("embedded", Backing::Embedded), ("servers", Backing::Servers)] {
        let pipeline = Plan::new(backing).start().await;
        run(figures, name, &pipeline, &input).await;
        let resident = |process: &Process| process.resident_bytes_max() as f64 / MEBIBYTE;
        match pipeline.consumers.first() {
            // One process is both.
            None => figures.at_most("embedded: memory of the process, MiB", resident(&pipeline.server), 512.0),
            Some(consumer) => {
                figures.at_most("servers: memory of the producer, MiB", resident(&pipeline.server), 256.0);
                figures.at_most("servers: memory of the consumer, MiB", resident(consumer), 256.0);
            }
        }
    }
}

async fn run(figures: &mut Figures, name: &str, pipeline: &Pipeline, input: &str) {
    let client = &pipeline.client;
    let upload = Instant::now();
    let file = client.upload(input.to_owned()).await;
    figures.note(&format!("{name}: upload, s"), upload.elapsed().as_secs_f64());

    let created = Instant::now();
    let batch = client.create_batch(&file, json!({})).await;
    eventually("the file is checked", Duration::from_secs(300), async || {
        (client.batch(&batch).await["status"] != "validating").then_some(())
    })
    .await;
    figures.at_most(&format!("{name}: validated and queued, s"), created.elapsed().as_secs_f64(), 15.0);

    let ended = eventually("the batch ends", Duration::from_secs(1800), async || {
        let batch = client.batch(&batch).await;
        batch["completed_at"].is_i64().then_some(batch)
    })
    .await;
    figures.at_least(
        &format!("{name}: requests per second from creation to results"),
        LINES as f64 / created.elapsed().as_secs_f64(),
        500.0,
    );
    let results = checked_results(client, input, &ended).await;
    assert_eq!(results.output.len(), LINES, "not every line succeeded");
}
