//! `millrace run`: the whole pipeline in one process for one batch file, with progress, resuming after a kill.

mod progress;
pub mod state;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use backing::{Backing, Config, shutdown::Shutdown};
use domain::{
    batch::{Batch, State as BatchState},
    id::{FileId, TenantId},
    request::Endpoint,
};
use futures::StreamExt;
use producer::submit::BatchOrder;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::{args::ModelFlags, embedded::Embedded};
use progress::Progress;
use state::StateFolder;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millrace run examples/documents.jsonl -o out.jsonl
  millrace run input.jsonl --model /models/moonlight --state /var/tmp/job7

The output holds one line for each line of the input: answers first, then errors. After a kill, the same command goes on where it stopped.")]
pub struct Args {
    /// The batch file (JSONL as in OpenAI's Batch API).
    input: PathBuf,
    /// Where the results go. Default: INPUT with the ending `.out.jsonl`.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Folder for work in progress, removed when the output is complete. Default: OUTPUT with `.state` added.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    limits: crate::args::LineLimits,
    /// Show no progress bar.
    #[arg(long, short)]
    quiet: bool,
    /// Print the closing summary as one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// Seven days: the run has no deadline of its own.
const WINDOW: &str = "7d";

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let output = args.output.clone().unwrap_or_else(|| args.input.with_extension("out.jsonl"));
    let folder = args.state.clone().unwrap_or_else(|| output.with_added_extension("state"));
    let state = StateFolder::open(&folder, &args.input)?;

    let shutdown = Shutdown::new();
    backing::shutdown::on_signal(shutdown.clone());
    let limits = args.limits.limits();
    // Beside the state folder, which goes with the run.
    let engine = args.model.engine(Some(folder.with_file_name("millrace-packed")))?;
    let settings = consumer::Settings { limits, webhook: None, ..consumer::Settings::new(engine) };
    let engine_time = settings.engine_time.clone();
    // Nothing is promised before the output stands: after a power failure, what it took back is done again.
    let config = Config { durable: false, ..Config::embedded(state.path()) };
    let mut pipeline = Embedded::start(&config, settings, shutdown.clone()).await?;
    pipeline.spawn(producer::dispatch(pipeline.backing.clone(), shutdown.clone()));
    let (backing, tenant) = (pipeline.backing.clone(), pipeline.tenant);
    let batch = submit_once(&backing, tenant, &args.input).await?;

    let mut progress = Progress::new(args.quiet || args.json, &batch);
    let ended = tokio::select! {
        ended = progress.follow(&backing, tenant, batch.id) => ended?,
        failure = pipeline.failure() => return Err(failure),
        () = shutdown.cancelled() => {
            progress.clear();
            pipeline.stop().await;
            eprintln!("interrupted; the same command goes on where this one stopped");
            return Ok(ExitCode::from(130));
        }
    };
    progress.clear();
    if ended.state == BatchState::Failed {
        report_errors(&args.input, &ended);
        pipeline.stop().await;
        state.discard()?;
        return Ok(ExitCode::FAILURE);
    }
    // The workers leave while the results are written.
    let (written, ()) = tokio::join!(write_results(&backing, tenant, &ended, &output), pipeline.stop());
    written?;
    state.discard()?;
    summarise(&ended, started.elapsed(), engine_time.total(), &output, args.json);
    Ok(ExitCode::SUCCESS)
}

/// The batch of this state folder: the one that is there already, or a new one of the whole input.
async fn submit_once(backing: &Backing, tenant: TenantId, input: &Path) -> anyhow::Result<Batch> {
    let earlier = backing.store.batches(tenant, None, 1).await?.and_then(|page| page.items.into_iter().next());
    if let Some(batch) = earlier {
        return Ok(batch);
    }
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    let content = tokio::fs::File::open(input).await.with_context(|| format!("cannot read `{}`", input.display()))?;
    let file = producer::submit::store_file(backing, tenant, &name, content, u64::MAX).await?;
    let order = BatchOrder {
        endpoint: endpoint_of(input)?,
        input_file: file.id,
        completion_window: WINDOW.to_owned(),
        window_seconds: domain::window::WINDOW_SECONDS_MAX,
        metadata: None,
        output_seconds: None,
        webhook: None,
        ignored: Vec::new(),
    };
    Ok(producer::submit::create_batch(backing, tenant, order).await?)
}

/// The endpoint that the file's first line names; validation holds every line to it.
fn endpoint_of(input: &Path) -> anyhow::Result<Endpoint> {
    let path = crate::batch::endpoint_of(input)?;
    Endpoint::from_path(&path).with_context(|| {
        let known: Vec<&str> = Endpoint::ALL.iter().map(|endpoint| endpoint.path()).collect();
        format!("line 1 of `{}`: `url` is `{path}`; known are {}", input.display(), known.join(" and "))
    })
}

/// Answers, then errors; the name appears only once the content is whole.
async fn write_results(backing: &Backing, tenant: TenantId, batch: &Batch, output: &Path) -> anyhow::Result<()> {
    let partial = output.with_added_extension("partial");
    let mut file = tokio::fs::File::create(&partial).await.with_context(|| format!("cannot write `{}`", partial.display()))?;
    for id in [batch.output_file, batch.error_file].into_iter().flatten() {
        append(backing, tenant, id, &mut file).await?;
    }
    // `sync_all` alone would not tell of a last write that failed, and what was not written is discarded next.
    file.flush().await?;
    file.sync_all().await?;
    tokio::fs::rename(&partial, output).await.with_context(|| format!("cannot write `{}`", output.display()))?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tokio::fs::File::open(folder).await?.sync_all().await?;
    Ok(())
}

async fn append(backing: &Backing, tenant: TenantId, id: FileId, file: &mut tokio::fs::File) -> anyhow::Result<()> {
    let row = backing.store.file(tenant, id).await?.with_context(|| format!("result file {id} is gone"))?;
    let mut content = backing.objects.read(&row.key, 0, None).await?;
    while let Some(chunk) = content.next().await {
        file.write_all(&chunk?).await?;
    }
    Ok(())
}

fn report_errors(input: &Path, batch: &Batch) {
    eprintln!("error: `{}` was refused, nothing ran:", input.display());
    for error in &batch.errors {
        match error.line {
            Some(line) => eprintln!("  line {line}: {} ({})", error.message, error.code),
            None => eprintln!("  {} ({})", error.message, error.code),
        }
    }
}

fn summarise(batch: &Batch, elapsed: Duration, in_engine: Duration, output: &Path, json: bool) {
    let (counts, usage) = (&batch.counts, &batch.usage);
    let (seconds, engine_seconds) = (elapsed.as_secs_f64(), in_engine.as_secs_f64());
    let failed = counts.ended() - counts.succeeded;
    if json {
        let summary = json!({
            "requests": counts.total, "failed": failed, "prompt_tokens": usage.prompt, "completion_tokens": usage.completion,
            "seconds": seconds, "engine_seconds": engine_seconds, "output": output,
        });
        println!("{summary}");
        return;
    }
    let share = 100.0 * engine_seconds / seconds.max(1e-3);
    eprintln!("{} requests, {failed} failed, {seconds:.1} s ({share:.1} % of it in the engine)", counts.total);
    eprintln!("{} tokens in, {} out, {:.0} tokens/s", usage.prompt, usage.completion, usage.total() as f64 / seconds.max(1e-3));
    eprintln!("results: {}", output.display());
}
