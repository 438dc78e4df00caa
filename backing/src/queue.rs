//! The queue: doorbells with ids from the dispatcher to the workers, over RabbitMQ or in-process. It may lose everything at any moment.

use domain::{envelope::Envelope, request::Lane};
use tokio::sync::broadcast;

use crate::Result;

/// A connection to the broker, rebuilt by its supervisor on any doubt; clones share it.
#[derive(Clone)]
pub struct Queue;

/// A sign that doorbells of a lane may be gone: the queue was found missing or wedged, or was newly declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneLost {
    pub model: String,
    pub lane: Lane,
}

impl Queue {
    /// Connects lazily to `amqp://…`, `amqps://…` or `local:`; fails only for a URL that can never work.
    pub fn open(url: &str, prefix: &str) -> Result<Self> {
        todo!("{url} {prefix}")
    }

    /// Publishes persistent, mandatory messages and waits for the confirms, all within a bound. True where the broker has the message
    /// in a queue; false means unknown or refused, and the caller treats the doorbell as not delivered.
    pub async fn publish(&self, model: &str, lane: Lane, envelopes: &[Envelope]) -> Vec<bool> {
        todo!("{model} {lane:?} {envelopes:?}")
    }

    /// Subscribes to both lanes of a model. Never holds more than `look_ahead` unanswered doorbells a lane. Survives broker restarts by itself.
    pub fn subscribe(&self, model: &str, look_ahead: u16) -> Doorbells {
        todo!("{model} {look_ahead}")
    }

    /// Signs of lost lanes, seen by this process.
    pub fn lost_lanes(&self) -> broadcast::Receiver<LaneLost> {
        todo!()
    }

    /// Whether the broker is connected and not blocked by an alarm (always true in-process).
    pub fn is_ready(&self) -> bool {
        todo!()
    }
}

/// The doorbells of one worker.
pub struct Doorbells;

/// One doorbell, not yet answered; dropping it unanswered returns it to the queue when the connection ends.
pub struct Doorbell {
    pub envelope: Envelope,
}

impl Doorbells {
    /// From 1 to `room` doorbells, `interactive` before `batch`; waits for the first. Cancel-safe: nothing is lost if the future is dropped.
    pub async fn next(&mut self, room: usize) -> Vec<Doorbell> {
        todo!("{room}")
    }

    /// Acknowledges doorbells whose claim is committed (or that rang in vain). An ack that fails is of no consequence.
    pub async fn ack(&mut self, doorbells: Vec<Doorbell>) {
        todo!("{}", doorbells.len())
    }

    /// Returns doorbells that were not answered, for other workers (drain).
    pub async fn give_back(&mut self, doorbells: Vec<Doorbell>) {
        todo!("{}", doorbells.len())
    }
}
