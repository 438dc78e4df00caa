//! The port to whatever runs requests: two bounded channels, commands in and events out. An implementation serves the other ends
//! (`native`: our engine on a thread of its own; `null`: a fixed text) and knows nothing of claims, leases or the store.

mod native;
mod null;

use domain::{answer::Answer, error::ApiError, request::Request};
use tokio::sync::mpsc;

use crate::{engine_time::EngineTime, settings::EngineSettings};

/// The consumer's name for a running request.
pub(super) type Ticket = u64;

/// What to do.
#[derive(Debug)]
pub(super) enum Command {
    Run(Box<Job>),
    /// Stop computing it; no event follows.
    Cancel(Ticket),
    /// Give back each request of which something has not started, with an [`Event::Withdrawn`].
    Withdraw,
    /// Drop everything; [`Event::Cleared`] follows after the events of all that had ended.
    Clear,
}

/// A request to run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ticket: Ticket,
    pub(super) request: Request,
    /// The worker of an earlier attempt died: this request may be the cause, so nothing else runs beside it.
    pub(super) alone: bool,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Event {
    Ended(Ticket, Result<Answer, ApiError>),
    Withdrawn(Ticket),
    Cleared,
}

/// What is being served.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) name: String,
    pub(super) context_length: u32,
    pub(super) bytes_per_token: f32,
    /// Requests that run at once.
    pub(super) slots: usize,
    pub(super) device: String,
}

impl Served {
    /// Claims that a worker may hold: what runs, and a little more that starts while results are being stored.
    pub(super) fn claims_max(&self) -> usize {
        self.slots + (self.slots / 4).max(2)
    }
}

/// A loaded model. `events` ends if its thread or task does.
pub(super) struct Inference {
    pub(super) served: Served,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) events: mpsc::Receiver<Event>,
}

/// The ends that an implementation serves.
struct Ends {
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
}

impl Inference {
    /// Loads what the settings name.
    pub(super) async fn start(settings: &EngineSettings, time: &EngineTime) -> anyhow::Result<Self> {
        match settings {
            EngineSettings::Native { name, source, options } => {
                native::start(name.clone(), source.clone(), options.clone(), time.clone()).await
            }
            EngineSettings::Null { name, tokens_per_s, slots } => Ok(null::start(name.clone(), *tokens_per_s, *slots)),
        }
    }

    /// Both channels hold as much as a worker may claim, so that neither side waits for the other in normal operation.
    fn connect(served: Served) -> (Self, Ends) {
        let capacity = served.claims_max();
        let (to_engine, commands) = mpsc::channel(capacity);
        let (to_consumer, events) = mpsc::channel(capacity);
        (Self { served, commands: to_engine, events }, Ends { commands, events: to_consumer })
    }

    /// Lets the model go, and waits until it has nothing left to do but to free its memory.
    pub(super) async fn end(self) {
        let Self { commands, mut events, .. } = self;
        drop(commands);
        while events.recv().await.is_some() {}
    }
}
