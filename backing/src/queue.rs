//! The queue: doorbells with ids from the dispatcher to the workers, over RabbitMQ or in-process. It may lose everything at any moment.

mod local;
mod rabbit;
mod signs;

use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{envelope::Envelope, request::Lane};
use tokio::sync::broadcast;

use crate::{Error, Result};

/// Most doorbells that wait in a lane: minutes of work for many workers, with a margin. The backlog itself lives in the store.
const LANE_CAPACITY: usize = 65_536;

/// A connection to the broker, rebuilt by its supervisor on any doubt; clones share it.
#[derive(Clone)]
pub struct Queue(Side);

#[derive(Clone)]
enum Side {
    Rabbit(rabbit::Rabbit),
    Local(local::Local),
}

/// A sign that doorbells of a lane may be gone: the queue was found missing, empty after a reconnection, or wedged, or was newly declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneLost {
    pub model: String,
    pub lane: Lane,
}

impl Queue {
    /// Connects lazily to `amqp://…`, `amqps://…` or `local:`; fails only for a URL that can never work.
    pub fn open(url: &str, prefix: &str) -> Result<Self> {
        match url.split(':').next() {
            Some("local") => Ok(Self(Side::Local(local::Local::default()))),
            Some("amqp" | "amqps") => Ok(Self(Side::Rabbit(rabbit::Rabbit::open(url, prefix)?))),
            // The URL itself is not repeated: it may hold a password.
            _ => Err(Error::Config("the queue's URL must start with `amqp://`, `amqps://` or `local:`".to_owned())),
        }
    }

    /// Publishes persistent, mandatory messages and waits for the confirms, all within a bound. True where the broker has the message
    /// in a queue; false means unknown or refused, and the caller treats the doorbell as not delivered.
    pub async fn publish(&self, model: &str, lane: Lane, envelopes: &[Envelope]) -> Vec<bool> {
        if envelopes.is_empty() {
            return Vec::new();
        }
        match &self.0 {
            Side::Rabbit(rabbit) => rabbit.publish(model, lane, envelopes).await,
            Side::Local(local) => local.publish(model, lane, envelopes),
        }
    }

    /// Subscribes to both lanes of a model. Never holds more than `look_ahead` unanswered doorbells a lane. Survives broker restarts by itself.
    pub fn subscribe(&self, model: &str, look_ahead: u16) -> Doorbells {
        Doorbells(match &self.0 {
            Side::Rabbit(rabbit) => Subscription::Rabbit(rabbit.subscribe(model, look_ahead.max(1))),
            Side::Local(local) => Subscription::Local(local.subscribe(model, look_ahead.max(1))),
        })
    }

    /// Signs of lost lanes, seen by this process: those from now on, and first of all those from before. A receiver that lagged has to
    /// take every lane for lost.
    pub fn lost_lanes(&self) -> broadcast::Receiver<LaneLost> {
        match &self.0 {
            Side::Rabbit(rabbit) => rabbit.signs().receiver(),
            Side::Local(local) => local.signs().receiver(),
        }
    }

    /// Whether the broker is connected and not blocked by an alarm (always true in-process). The first question makes the connection.
    pub fn is_ready(&self) -> bool {
        match &self.0 {
            Side::Rabbit(rabbit) => rabbit.is_ready(),
            Side::Local(_) => true,
        }
    }
}

/// The doorbells of one worker. Dropping them returns what was not answered to the queue.
pub struct Doorbells(Subscription);

enum Subscription {
    Rabbit(rabbit::Doorbells),
    Local(local::Doorbells),
}

/// One doorbell, not yet answered; dropping it unanswered returns it to the queue when the connection ends.
pub struct Doorbell {
    pub envelope: Envelope,
    ticket: Ticket,
}

/// What is needed to answer a doorbell.
enum Ticket {
    Rabbit(rabbit::Ticket),
    Local(local::Ticket),
}

impl Doorbells {
    /// From 1 to `room` doorbells, `interactive` before `batch`; waits for the first, and without room for ever. Cancel-safe: nothing is
    /// lost if the future is dropped.
    pub async fn next(&mut self, room: usize) -> Vec<Doorbell> {
        match &mut self.0 {
            Subscription::Rabbit(doorbells) => doorbells.next(room).await,
            Subscription::Local(doorbells) => doorbells.next(room).await,
        }
    }

    /// Acknowledges doorbells whose claim is committed (or that rang in vain). An ack that fails is of no consequence.
    pub async fn ack(&mut self, doorbells: Vec<Doorbell>) {
        match &mut self.0 {
            Subscription::Rabbit(_) => rabbit::ack(doorbells).await,
            Subscription::Local(subscription) => subscription.ack(doorbells),
        }
    }

    /// Returns doorbells that were not answered, for other workers (drain).
    pub async fn give_back(&mut self, doorbells: Vec<Doorbell>) {
        match &mut self.0 {
            Subscription::Rabbit(_) => rabbit::give_back(doorbells).await,
            Subscription::Local(subscription) => subscription.give_back(doorbells),
        }
    }
}

/// What these mutexes guard is whole at every moment, so that a panic elsewhere is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
