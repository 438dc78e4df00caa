//! The producer: takes requests in over HTTP, keeps them durably, and rings the doorbells of those whose turn it is.
//! It runs no model and writes no result. The modules stand in the order in which a request meets them.

pub mod settings;

mod http;
pub mod submit;
mod wait;

mod dispatch;

mod failure;
mod remembered;

use std::{sync::Arc, time::Duration};

use backing::{
    Backing,
    shutdown::Shutdown,
    store::Change,
    telemetry::{Metrics, install_metrics},
};
use domain::{id::TenantId, model::Model};
use tokio::net::TcpListener;

pub use dispatch::{Dispatcher, Step};
pub use failure::Failure;
pub use settings::Settings;

use remembered::Remembered;
use wait::Waiters;

/// One producer process: what its handlers share.
pub struct Producer {
    backing: Backing,
    settings: Settings,
    metrics: Metrics,
    /// Tenants by the hash of their key; `None` for keys that are known to be wrong.
    keys: Remembered<[u8; 32], Option<TenantId>>,
    models: Remembered<String, Model>,
    waiters: Waiters,
}

impl Producer {
    /// A producer that serves nobody yet; [`run`] is the usual way to have one.
    pub fn new(backing: Backing, settings: Settings) -> Self {
        let metrics = install_metrics();
        let keys = Remembered::new(settings.remember_for);
        let models = Remembered::new(settings.remember_for);
        let waiters = Waiters::new(backing.store.clone(), settings.vanished_after);
        Self { backing, settings, metrics, keys, models, waiters }
    }

    /// The one listener of the process: wakes those who wait and forgets revoked keys.
    async fn listen(&self) {
        let mut changes = self.backing.store.changes();
        loop {
            match changes.next().await {
                Change::Ended(id) => self.waiters.wake(id),
                Change::Keys => self.keys.forget_all(),
                _ => {}
            }
        }
    }

    /// Looks around once a second, in case a change was missed. Beside the listener: a slow store must not hold up its wake-ups.
    async fn keep_looking(&self) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            second.tick().await;
            self.waiters.look_around().await;
        }
    }
}

/// Serves HTTP and dispatches until the shutdown, then lets running calls finish within `settings.drain`.
pub async fn run(listener: TcpListener, backing: Backing, settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    let producer = Arc::new(Producer::new(backing.clone(), settings));
    tracing::info!(address = %listener.local_addr()?, "serving");
    let serving = async {
        // Calls whose requests end while they drain are woken too, so the listener outlives the shutdown.
        tokio::select! {
            () = http::serve(listener, producer.clone(), &shutdown) => {}
            () = producer.listen() => {}
            () = producer.keep_looking() => {}
        }
    };
    tokio::join!(serving, dispatch::run(backing, &shutdown));
    Ok(())
}

/// Dispatches until the shutdown, without serving HTTP: for a process that submits to itself.
pub async fn dispatch(backing: Backing, shutdown: Shutdown) -> anyhow::Result<()> {
    dispatch::run(backing, &shutdown).await;
    Ok(())
}
