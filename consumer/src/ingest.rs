//! Batch files become lines: the input file is streamed once, every line is checked, and either all lines may run or none.
//! What is wrong with a line is judged in `ingest/check.rs`.

mod check;

use std::collections::HashMap;

use backing::{
    Backing, Error,
    store::{NewLine, Phase, Term},
};
use bytes::Bytes;
use chrono::Utc;
use domain::{batch::Batch, file::File, jsonl::fault, limits::Limits};
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::{batch_lease::while_held, settings::LeaseSettings, turn::Step};
use check::{Check, Verdict};

/// Lines inserted in one transaction, and the bytes parsed between two looks at how many there are.
const CHUNK_LINES: usize = 1000;
const SLICE_BYTES: usize = 64 << 10;

/// Validates the oldest batch that waits for it.
pub async fn ingest_once(backing: &Backing, limits: &Limits, timing: &LeaseSettings) -> anyhow::Result<Step> {
    let Some((batch, file, term)) = backing.store.take_batch(Phase::Validate, timing.lease.as_secs_f64()).await? else {
        return Ok(Step::Idle);
    };
    let validated = while_held(&backing.store, batch.id, term, timing, validate(backing, limits, &batch, &file, term)).await;
    match validated.transpose() {
        // Faults pass, and the batch waits for that; but not for longer than its owner does.
        Err(error) if batch.stamps.expires <= Utc::now().timestamp() => {
            let message = "The input file could not be read before the completion window expired.";
            backing.store.reject_batch(batch.id, term, &[fault("input_file_unreadable", message, None)]).await?;
            Err(error)
        }
        validated => validated.map(|_| Step::Worked),
    }
}

async fn validate(backing: &Backing, limits: &Limits, batch: &Batch, file: &File, term: Term) -> anyhow::Result<()> {
    let verdict = match read_lines(backing, limits, batch, file, term).await {
        Err(Error::NoObject(_)) => Verdict::Rejected(vec![fault("input_file_gone", "The input file does not exist any more.", None)]),
        verdict => verdict?,
    };
    match verdict {
        Verdict::Good { lines, model } => {
            let started = backing.store.start_batch(batch.id, term, lines, model.as_deref()).await?;
            tracing::info!(batch = %batch.id, lines, started, "input file is good");
        }
        Verdict::Rejected(errors) => {
            backing.store.reject_batch(batch.id, term, &errors).await?;
            tracing::info!(batch = %batch.id, errors = errors.len(), "input file rejected");
        }
    }
    Ok(())
}

/// Object store → parser → store, each a step ahead of the next and none further: memory does not grow with the file.
async fn read_lines(backing: &Backing, limits: &Limits, batch: &Batch, file: &File, term: Term) -> Result<Verdict, Error> {
    let models = backing.store.models().await?.into_iter().map(|(model, _)| (model.name.clone(), model)).collect::<HashMap<_, _>>();
    let mut stream = backing.objects.read(&file.key, 0, None).await?;
    let check = Check::new(batch.endpoint, *limits, models);
    let (to_parser, chunks) = mpsc::channel(2);
    let (to_store, mut parsed) = mpsc::channel(2);
    let parser = tokio::task::spawn_blocking(move || parse(check, chunks, to_store));

    let reading = async move {
        while let Some(chunk) = stream.next().await {
            // A closed channel is a parser that has seen enough.
            if to_parser.send(chunk?).await.is_err() {
                break;
            }
        }
        Ok::<(), Error>(())
    };
    let storing = async {
        while let Some(lines) = parsed.recv().await {
            if !backing.store.insert_lines(batch, term, &lines).await? {
                break;
            }
        }
        Ok::<(), Error>(())
    };
    tokio::try_join!(reading, storing)?;
    parser.await.map_err(|_| Error::Corrupt(format!("the input file of {} stops the parser", batch.id)))
}

/// Cuts and checks the file on a thread of its own. After the first fault nothing is stored any more, but the rest is still checked.
fn parse(mut check: Check, mut chunks: mpsc::Receiver<Bytes>, to_store: mpsc::Sender<Vec<NewLine>>) -> Verdict {
    let mut good = Vec::with_capacity(CHUNK_LINES);
    'file: while let Some(chunk) = chunks.blocking_recv() {
        for slice in chunk.chunks(SLICE_BYTES) {
            check.feed(slice, &mut good);
            let full = good.len() >= CHUNK_LINES;
            // A closed channel is a lost lease: the verdict will be without consequence.
            if check.has_seen_enough() || (full && to_store.blocking_send(std::mem::take(&mut good)).is_err()) {
                break 'file;
            }
        }
    }
    let verdict = check.finish(&mut good);
    if !good.is_empty() && matches!(verdict, Verdict::Good { .. }) {
        let _ = to_store.blocking_send(good);
    }
    verdict
}
