//! `millrace consume`: workers, any number of times.

use backing::{Backing, shutdown::Shutdown};
use consumer::{Loading, Role};

use crate::args::{LineLimits, ModelFlags, Services, WebhookFlags};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millrace consume --model /models/moonlight
  millrace consume --roles ingest,deliver,upkeep        no model is loaded")]
pub struct Args {
    #[command(flatten)]
    services: Services,
    #[command(flatten)]
    model: ModelFlags,
    /// What this process does: `infer`, `ingest`, `deliver`, `upkeep`.
    #[arg(long, value_delimiter = ',', value_parser = role, default_value = "infer,ingest,deliver,upkeep", value_name = "LIST")]
    roles: Vec<Role>,
    #[command(flatten)]
    limits: LineLimits,
    #[command(flatten)]
    webhooks: WebhookFlags,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    backing::telemetry::install_metrics();
    let shutdown = Shutdown::new();
    backing::shutdown::on_signal(shutdown.clone());
    let settings = consumer::Settings {
        roles: args.roles.into_iter().collect(),
        limits: args.limits.limits(),
        webhook: Some(args.webhooks.settings()),
        ..consumer::Settings::new(args.model.engine(None)?)
    };
    let model = Loading::begin(&settings);
    let backing = Backing::open(&args.services.config()).await?;
    backing.store.migrate().await?;
    consumer::run(model, backing, settings, shutdown).await
}

fn role(name: &str) -> Result<Role, String> {
    Role::from_name(name).ok_or_else(|| format!("the roles are {}", Role::ALL.map(Role::name).join(", ")))
}
