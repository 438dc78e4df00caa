//! The one binary: reads flags and environment, which nothing below it does, and starts what they ask for.

mod args;
mod embedded;
mod nano;

mod run;
mod serve;

mod consume;
mod migrate;
mod produce;

mod batch;
mod bench;
mod client;
mod key;
mod model;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Millrace never says busy: an asynchronous batch inference service that accepts every request and answers when there is room.
#[derive(Parser)]
#[command(name = "millrace", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Write logs as JSON lines.
    #[arg(long, global = true, env = "MILLRACE_LOG_JSON")]
    log_json: bool,
    /// What to log, such as `info` or `consumer=debug,info`.
    #[arg(long, global = true, env = "MILLRACE_LOG", value_name = "FILTER")]
    log: Option<String>,
}

/// Open files and connections at once, where the system's hard limit allows them.
const DESCRIPTORS_WANTED: u64 = 65_536;

const EXAMPLES: &str = "\
Examples:
  millrace run examples/documents.jsonl -o out.jsonl      answer a batch file, with nothing else installed
  millrace serve                                          an OpenAI-compatible server on 127.0.0.1:8080
  millrace batch make letters/ --instruction task.txt -o input.jsonl
  millrace batch submit input.jsonl --watch               send a batch to MILLRACE_URL and follow it";

#[derive(Subcommand)]
enum Command {
    /// Answer a batch file on this machine and write the results; resumes after a kill.
    Run(run::Args),
    /// Everything in one process: API, dispatcher and workers, with no other servers.
    Serve(serve::Args),
    /// Production: the HTTP API and the dispatcher.
    Produce(produce::Args),
    /// Production: the workers.
    Consume(consume::Args),
    /// Bring the database to this version.
    Migrate(migrate::Args),
    /// API keys of tenants.
    #[command(subcommand)]
    Key(key::Command),
    /// Make, submit and follow batches.
    #[command(subcommand)]
    Batch(batch::Command),
    /// Measure.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Look at models.
    #[command(subcommand)]
    Model(model::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The progress bar and the tables are the output of the client commands; their logs only tell of trouble.
    let quiet = matches!(cli.command, Command::Run(_) | Command::Batch(_) | Command::Key(_) | Command::Bench(_) | Command::Model(_));
    let filter = cli.log.as_deref().unwrap_or(if quiet { "warn,sqlx=error" } else { "info,sqlx=error" });
    backing::telemetry::start_logs(cli.log_json, filter);
    // A thousand waiting callers are a thousand connections. What the system does not grant is no reason to stop.
    if let Err(error) = rlimit::increase_nofile_limit(DESCRIPTORS_WANTED) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => return run::run(args).await,
        Command::Serve(args) => serve::run(args).await?,
        Command::Produce(args) => produce::run(args).await?,
        Command::Consume(args) => consume::run(args).await?,
        Command::Migrate(args) => migrate::run(args).await?,
        Command::Key(command) => key::run(command).await?,
        Command::Batch(command) => return batch::run(command).await,
        Command::Bench(command) => bench::run(command)?,
        Command::Model(command) => model::run(command)?,
    }
    Ok(ExitCode::SUCCESS)
}
