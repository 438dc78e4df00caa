//! `millrace serve`: everything in one process, for one machine.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, ensure};
use backing::{Config, shutdown::Shutdown};
use tokio::net::TcpListener;

use crate::{
    args::{LineLimits, ModelFlags, WebhookFlags},
    embedded::Embedded,
    run::state::lock,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millrace serve
  millrace key create --tenant acme --state millrace-state && millrace serve --listen 0.0.0.0:8080

On loopback and without keys, anybody on this machine may use it; once there are keys, one is needed.")]
pub struct Args {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "MILLRACE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// Folder for the database and the files.
    #[arg(long, default_value = "millrace-state", value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    limits: LineLimits,
    #[command(flatten)]
    webhooks: WebhookFlags,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.state).with_context(|| format!("cannot create `{}`", args.state.display()))?;
    let _lock = lock(&args.state)?;
    let shutdown = Shutdown::new();
    backing::shutdown::on_signal(shutdown.clone());
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let limits = args.limits.limits();
    let engine = args.model.engine(Some(args.state.join("packed")))?;
    let settings = consumer::Settings { limits, webhook: Some(args.webhooks.settings()), ..consumer::Settings::new(engine) };
    let model = settings.engine.name().to_owned();
    let mut pipeline = Embedded::start(&Config::embedded(&args.state), settings, shutdown.clone()).await?;
    pipeline.model_registered(&model).await?;

    let has_keys = pipeline.backing.store.has_keys().await?;
    ensure!(
        has_keys || args.listen.ip().is_loopback(),
        "refusing to listen on {} without API keys: anybody could use it. Make one with `millrace key create --tenant NAME --state {}`.",
        args.listen,
        args.state.display()
    );
    let open_tenant = (!has_keys).then_some(pipeline.tenant);
    let address = listener.local_addr()?;
    let settings = producer::Settings { limits, open_tenant, ..producer::Settings::default() };
    pipeline.spawn(producer::run(listener, pipeline.backing.clone(), settings, shutdown.clone()));
    println!("listening on http://{address}");

    let failure = tokio::select! {
        failure = pipeline.failure() => Some(failure),
        () = shutdown.cancelled() => None,
    };
    pipeline.stop().await;
    failure.map_or(Ok(()), Err)
}
