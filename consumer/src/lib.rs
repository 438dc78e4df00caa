//! The consumer: takes what the producer has accepted to its end. A batch file becomes lines (`ingest`), requests become results
//! (`infer`), results become files and webhooks (`deliver`), and what has ended, aged or died is cleared up (`upkeep`).

pub mod settings;

pub mod ingest;

mod infer;

pub mod deliver;

pub mod upkeep;

mod batch_lease;
mod engine_time;
mod turn;

pub use engine_time::EngineTime;
pub use infer::Loading;
pub use settings::{EngineSettings, LeaseSettings, Role, Settings, WebhookSettings};
pub use turn::Step;

use std::sync::Arc;

use backing::{Backing, shutdown::Shutdown, store::Change};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use deliver::{assemble::assemble_once, webhooks::Courier};
use ingest::ingest_once;
use turn::Turns;
use upkeep::Duty;

/// Batches that a process reads, and that it writes, at once: a large one does not hold up a small one.
const BATCHES_AT_ONCE: usize = 2;

/// Runs the roles of this process until the shutdown, or until one of them cannot go on.
pub async fn run(model: Option<Loading>, backing: Backing, settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    let consumer = Arc::new(Consumer { backing, settings, announced: CancellationToken::new(), shutdown: shutdown.child_token() });
    let mut tasks = JoinSet::new();
    let is_known = consumer.backing.store.model(consumer.settings.engine.name()).await?.is_some();
    if model.is_none() || is_known {
        consumer.announced.cancel();
    }
    if let Some(model) = model {
        tasks.spawn(consumer.clone().infer(model));
    }
    for role in consumer.settings.roles.clone() {
        tracing::info!(role = role.name(), "role starts");
        consumer.clone().start(role, &mut tasks);
    }
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        // The first fault counts; the others learn of it by the shutdown.
        if let Err(error) = ended.map_err(anyhow::Error::from).flatten() {
            consumer.shutdown.cancel();
            outcome = outcome.and(Err(error));
        }
    }
    outcome
}

struct Consumer {
    backing: Backing,
    settings: Settings,
    /// Cancelled once the model of this process is registered; an earlier process may have done that long ago.
    announced: CancellationToken,
    shutdown: Shutdown,
}

impl Consumer {
    /// Every loop but that of `infer` may be dropped where it stands: whoever comes next repeats the step.
    fn start(self: Arc<Self>, role: Role, tasks: &mut JoinSet<anyhow::Result<()>>) {
        match role {
            Role::Ingest => (0..BATCHES_AT_ONCE).for_each(|_| drop(tasks.spawn(self.clone().ingest()))),
            // Started by `run`, with the model.
            Role::Infer => {}
            Role::Deliver => {
                (0..BATCHES_AT_ONCE).for_each(|_| drop(tasks.spawn(self.clone().assemble())));
                if let Some(webhook) = self.settings.webhook.clone() {
                    tasks.spawn(self.send_webhooks(webhook));
                }
            }
            Role::Upkeep => Duty::ALL.into_iter().for_each(|duty| drop(tasks.spawn(self.clone().upkeep(duty)))),
        }
    }

    async fn ingest(self: Arc<Self>) -> anyhow::Result<()> {
        let mut turns = Turns::new("ingest", &self.backing.store, is_batch);
        let ingest = async {
            // A batch for this very model must find it registered.
            self.announced.cancelled().await;
            loop {
                turns.after(ingest_once(&self.backing, &self.settings.limits, &self.settings.lease).await).await;
            }
        };
        let _: Option<()> = self.shutdown.run_until_cancelled(ingest).await;
        Ok(())
    }

    async fn infer(self: Arc<Self>, model: Loading) -> anyhow::Result<()> {
        infer::run(model, &self.backing, &self.settings, &self.announced, &self.shutdown).await
    }

    async fn assemble(self: Arc<Self>) -> anyhow::Result<()> {
        let mut turns = Turns::new("assemble", &self.backing.store, is_batch);
        let assemble = async {
            loop {
                turns.after(assemble_once(&self.backing, &self.settings.lease).await).await;
            }
        };
        let _: Option<()> = self.shutdown.run_until_cancelled(assemble).await;
        Ok(())
    }

    async fn send_webhooks(self: Arc<Self>, settings: WebhookSettings) -> anyhow::Result<()> {
        let store = self.backing.store.clone();
        // Reading the machine's TLS roots takes a while, and batches are waiting to be read, too.
        let mut courier = tokio::task::spawn_blocking(move || Courier::new(store, &settings)).await??;
        let mut turns = Turns::new("webhooks", &self.backing.store, |change| matches!(change, Change::Event));
        let send = async {
            loop {
                turns.after(courier.deliver_once().await).await;
            }
        };
        let _: Option<()> = self.shutdown.run_until_cancelled(send).await;
        courier.arrive().await;
        Ok(())
    }

    async fn upkeep(self: Arc<Self>, duty: Duty) -> anyhow::Result<()> {
        upkeep::run(duty, &self.backing, &self.settings, &self.shutdown).await;
        Ok(())
    }
}

fn is_batch(change: &Change) -> bool {
    matches!(change, Change::Batch(_))
}
