//! Producer and consumer in one process on a state folder: what `run` and `serve` have in common.

use std::time::Duration;

use anyhow::anyhow;
use backing::{Backing, Config, shutdown::Shutdown};
use consumer::Loading;
use domain::id::TenantId;
use tokio::task::JoinSet;

use crate::nano;

/// A running pipeline on embedded services.
pub struct Embedded {
    pub backing: Backing,
    /// The tenant of whoever sits at this machine.
    pub tenant: TenantId,
    shutdown: Shutdown,
    tasks: JoinSet<anyhow::Result<()>>,
}

const LOCAL_TENANT: &str = "local";
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Embedded {
    /// Opens the services in a locked state folder and starts the workers; the caller adds what submits and dispatches.
    pub async fn start(config: &Config, settings: consumer::Settings, shutdown: Shutdown) -> anyhow::Result<Self> {
        // The model loads while the services are made ready.
        let model = Loading::begin(&settings);
        let backing = Backing::open(config).await?;
        backing.store.migrate().await?;
        // The state folder is locked: whoever worked in it before is dead.
        backing.store.release_all().await?;
        let tenant = backing.store.ensure_tenant(LOCAL_TENANT).await?;
        if settings.engine.name() == nano::NAME {
            backing.store.register_model(&nano::registration()).await?;
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(consumer::run(model, backing.clone(), settings, shutdown.clone()));
        Ok(Self { backing, tenant, shutdown, tasks })
    }

    /// Waits until requests can name the model; loading it may take minutes.
    pub async fn model_registered(&mut self, model: &str) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        while !shutdown.is_cancelled() && self.backing.store.model(model).await?.is_none() {
            tokio::select! {
                failure = self.failure() => return Err(failure),
                _ = backing::shutdown::pause(&shutdown, LOOK_AGAIN) => {}
            }
        }
        Ok(())
    }

    /// Adds a part that lives and dies with the pipeline.
    pub fn spawn(&mut self, part: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.tasks.spawn(part);
    }

    /// Waits until a part has ended though nobody asked it to, and says why.
    pub async fn failure(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow!("a part of the pipeline broke: {error}"),
            Some(Ok(Ok(()))) | None => anyhow!("a part of the pipeline has ended"),
        }
    }

    /// Ends all parts in order.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::warn!("while stopping: {error:#}");
            }
        }
    }
}
