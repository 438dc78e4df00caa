//! `millrace batch`: make a batch file, submit it, follow it, fetch its results.

mod download;
mod make;
mod show;
mod submit;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

pub use submit::endpoint_of;

use crate::client::Server;

#[derive(Subcommand)]
pub enum Command {
    /// Turn a folder of text documents into a batch file, one request a document.
    #[command(after_help = "Example:\n  millrace batch make letters/ --instruction task.txt -o input.jsonl")]
    Make(make::Args),
    /// Upload a batch file and create the batch.
    #[command(after_help = "Example:\n  millrace batch submit input.jsonl --watch")]
    Submit(submit::Args),
    /// Follow a batch until it ends. Exits with 1 if it does not complete.
    Watch {
        id: String,
        #[command(flatten)]
        server: Server,
        /// Print the final batch as JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the batches, the newest first.
    List {
        #[command(flatten)]
        server: Server,
        /// How many at most.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show one batch.
    Show {
        id: String,
        #[command(flatten)]
        server: Server,
        /// Print the batch as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Cancel a batch; finished lines keep their results.
    Cancel {
        id: String,
        #[command(flatten)]
        server: Server,
        /// Print the batch as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Download the results of a batch: output lines, then error lines.
    #[command(after_help = "Example:\n  millrace batch download batch_… -o results.jsonl")]
    Download {
        id: String,
        #[command(flatten)]
        server: Server,
        /// Where to write; `-` is standard output.
        #[arg(short, long, default_value = "-")]
        output: PathBuf,
    },
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Make(args) => make::run(args)?,
        Command::Submit(args) => return submit::run(args).await,
        Command::Watch { id, server, json } => return watch::run(&server.client()?, &id, json).await,
        Command::List { server, limit, json } => show::list(&server.client()?, limit, json).await?,
        Command::Show { id, server, json } => show::one(&server.client()?, &id, json).await?,
        Command::Cancel { id, server, json } => show::cancel(&server.client()?, &id, json).await?,
        Command::Download { id, server, output } => download::run(&server.client()?, &id, &output).await?,
    }
    Ok(ExitCode::SUCCESS)
}
