//! The consumer: takes what the producer has accepted to its end. A batch file becomes lines (`ingest`), requests become results
//! (`infer`), results become files and webhooks (`deliver`), and what has ended, aged or died is cleared up (`upkeep`).

pub mod settings;

pub use settings::{EngineSettings, LeaseSettings, Role, Settings, WebhookSettings};

use backing::{Backing, shutdown::Shutdown};

/// Runs the roles of this process until the shutdown, or until one of them cannot go on.
pub async fn run(_backing: Backing, _settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}
