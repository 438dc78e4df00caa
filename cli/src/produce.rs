//! `millrace produce`: the HTTP API and the dispatcher, any number of times.

use std::net::SocketAddr;

use anyhow::Context;
use backing::{Backing, shutdown::Shutdown};
use tokio::net::TcpListener;

use crate::args::{LineLimits, Services};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    services: Services,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "MILLRACE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    #[command(flatten)]
    limits: LineLimits,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    backing::shutdown::on_signal(shutdown.clone());
    let backing = Backing::open(&args.services.config()).await?;
    backing.store.migrate().await?;
    backing.store.register_model(&crate::nano::registration()).await?;
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    println!("listening on http://{}", listener.local_addr()?);
    let settings = producer::Settings { limits: args.limits.limits(), ..producer::Settings::default() };
    producer::run(listener, backing, settings, shutdown).await
}
