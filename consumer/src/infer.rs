//! Requests become results. A worker lives through: register, then intake → inference → finish side by side under a beating
//! heart, until it drains or finds itself fenced off; then it lives again under a new id. The engine outlives them all.

mod claims;
mod intake;

mod bodies;

mod inference;

mod finish;

mod heart;

use std::time::Duration;

use anyhow::Context;
use backing::{Backing, shutdown::Shutdown, store::Worker};
use chrono::Utc;
use domain::{id::WorkerId, model::Model};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    settings::{Role, Settings},
    turn::backoff,
};
use claims::Claims;
use finish::{Finish, LAST_COMMIT};
use heart::Heart;
use inference::{Command, Inference, Served};
use intake::Intake;

/// A model on its way into memory.
pub struct Loading(JoinHandle<anyhow::Result<Inference>>);

impl Loading {
    /// Begins to load the model, which needs no other service; [`crate::run`] waits for it. `None` for a process that does not infer.
    pub fn begin(settings: &Settings) -> Option<Self> {
        let (engine, time) = (settings.engine.clone(), settings.engine_time.clone());
        settings.roles.contains(&Role::Infer).then(|| Self(tokio::spawn(async move { Inference::start(&engine, &time).await })))
    }
}

/// Tells the producers what is served.
async fn announce(backing: &Backing, served: &Served) -> anyhow::Result<()> {
    tracing::info!(model = %served.name, slots = served.slots, device = %served.device, "model loaded");
    let model = Model {
        name: served.name.clone(),
        context_length: served.context_length,
        bytes_per_token: served.bytes_per_token,
        tokens_per_s: None,
        created_at: Utc::now().timestamp(),
    };
    backing.store.register_model(&model).await.context("cannot register the model")
}

/// Runs the role until the shutdown. Fails if the engine dies: its claims are then left to their lease, so that the attempt stays
/// counted and a request that kills engines comes to an end.
pub(crate) async fn run(
    loading: Loading,
    backing: &Backing,
    settings: &Settings,
    announced: &CancellationToken,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let Some(loaded) = shutdown.run_until_cancelled(loading.0).await else { return Ok(()) };
    let mut inference = loaded.map_err(anyhow::Error::from).flatten().context("cannot load the model")?;
    announce(backing, &inference.served).await?;
    announced.cancel();
    let mut faults = 0;
    while !shutdown.is_cancelled() {
        match live(backing, settings, &mut inference, shutdown).await? {
            Ending::Drained => break,
            Ending::Fenced => faults = 0,
            Ending::Unregistered => faults += 1,
        }
        backing::shutdown::pause(shutdown, backoff(faults)).await;
    }
    inference.end().await;
    Ok(())
}

/// Why a worker's life ended.
enum Ending {
    /// Everything is finished or given back.
    Drained,
    /// The lease is lost, or it is unknown what the store holds in our name: whatever ran is dropped.
    Fenced,
    /// The store did not take the registration.
    Unregistered,
}

async fn live(backing: &Backing, settings: &Settings, inference: &mut Inference, shutdown: &Shutdown) -> anyhow::Result<Ending> {
    let served = &inference.served;
    let worker = WorkerId::new();
    let heart = Heart::new(backing.store.clone(), worker, settings.lease);
    if let Err(error) = register(backing, served, worker, settings.lease.lease).await {
        tracing::warn!("cannot register as a worker: {error}");
        return Ok(Ending::Unregistered);
    }
    tracing::info!(%worker, model = served.name, "worker registered");

    let fenced = CancellationToken::new();
    let claims = Claims::new(served);
    let finish = Finish::new(backing.clone(), worker, served.name.clone(), claims.clone(), fenced.clone());
    let intake = Intake::new(backing.clone(), worker, settings.lease.lease, served, claims.clone(), &finish, inference.commands.clone());
    let working = async {
        let until_drained = async {
            intake.run(shutdown, &fenced).await;
            drain(settings.drain_grace, &finish, &claims, &inference.commands).await;
        };
        fenced.run_until_cancelled(until_drained).await;
        // `Cleared` follows everything that had ended by then: even a zombie's last results are offered, and meet the store's fence.
        inference.commands.send(Command::Clear).await.context("the engine has stopped")
    };
    tokio::select! {
        done = async { tokio::try_join!(working, finish.run(&mut inference.events)) } => drop(done?),
        never = heart.beat(&claims, &inference.commands, &fenced) => match never {},
    }
    // A store that hiccuped is no fault of the requests: what is still ours goes back without counting the attempt. What others
    // have taken meanwhile carries another epoch.
    finish.give_back(claims.take_all()).await;
    if let Err(error) = backing.store.retire_worker(worker).await {
        tracing::warn!(%worker, "cannot retire, so the lease has to run out: {error}");
    }
    if fenced.is_cancelled() {
        tracing::warn!(%worker, "worker fenced off");
        return Ok(Ending::Fenced);
    }
    tracing::info!(%worker, "worker drained");
    Ok(Ending::Drained)
}

/// Tells the dispatcher that there is room.
async fn register(backing: &Backing, served: &Served, worker: WorkerId, lease: Duration) -> backing::Result<()> {
    let slots = u32::try_from(served.slots).unwrap_or(u32::MAX);
    backing.store.register_worker(&Worker { id: worker, model: Some(served.name.clone()), slots }, lease.as_secs_f64()).await
}

/// Leaves nothing behind: what has not started goes back at once, what runs may end within the grace, the rest goes back, too.
async fn drain(grace: Duration, finish: &Finish, claims: &Claims, commands: &mpsc::Sender<Command>) {
    // An engine that has gone is noticed by the one who waits for its events.
    let _ = commands.send(Command::Withdraw).await;
    if !claims.emptied(grace).await {
        finish.give_back(claims.take_all()).await;
        claims.emptied(LAST_COMMIT).await;
    }
}
