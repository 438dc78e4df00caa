//! The queue on RabbitMQ: what a process holds of it. The connections are supervised in `line`, the queues are kept healthy in `place`.

mod backoff;
mod inlet;
mod line;
mod link;
mod outlet;
mod place;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{envelope::Envelope, request::Lane};
use lapin::uri::AMQPUri;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{line::Line, outlet::Outlet, place::Place};
use super::{lock, signs::Signs};
use crate::{Error, Result};

pub(super) use self::inlet::{Doorbells, Ticket, ack, give_back};

/// How long the broker may take to answer. A healthy one takes milliseconds, a busy one a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// What a prefix may be long, so that the names of queues stay within AMQP's 255 bytes.
const PREFIX_BYTES_MAX: usize = 64;

/// Two connections (a broker that blocks publishers must not hold up acks) and what goes over them; clones share it.
#[derive(Clone)]
pub(super) struct Rabbit(Arc<Shared>);

struct Shared {
    prefix: String,
    publishing: Arc<Line>,
    consuming: Arc<Line>,
    /// One for each lane that this process ever published to: as many as there are models.
    outlets: Mutex<HashMap<String, Arc<Outlet>>>,
    signs: Arc<Signs>,
    stop: CancellationToken,
    /// Ends all tasks when the last clone and the last subscription are gone.
    _guard: DropGuard,
}

impl Rabbit {
    pub(super) fn open(url: &str, prefix: &str) -> Result<Self> {
        let uri = parse(url)?;
        check_prefix(prefix)?;
        let stop = CancellationToken::new();
        Ok(Self(Arc::new(Shared {
            prefix: prefix.to_owned(),
            publishing: Arc::new(Line::new(uri.clone(), "publishing", stop.clone())),
            consuming: Arc::new(Line::new(uri, "consuming", stop.clone())),
            outlets: Mutex::default(),
            signs: Arc::default(),
            _guard: stop.clone().drop_guard(),
            stop,
        })))
    }

    pub(super) async fn publish(&self, model: &str, lane: Lane, envelopes: &[Envelope]) -> Vec<bool> {
        self.outlet(self.place(model, lane)).publish(envelopes).await
    }

    pub(super) fn subscribe(&self, model: &str, look_ahead: u16) -> Doorbells {
        let shared = &self.0;
        let stop = shared.stop.child_token();
        let inbox = Arc::default();
        for lane in Lane::ALL {
            let inlet = inlet::Inlet {
                place: self.place(model, lane),
                look_ahead,
                line: shared.consuming.clone(),
                signs: shared.signs.clone(),
                inbox: Arc::clone(&inbox),
            };
            tokio::spawn(stop.clone().run_until_cancelled_owned(inlet.keep()));
        }
        Doorbells::new(inbox, stop.drop_guard(), self.clone())
    }

    pub(super) fn signs(&self) -> &Signs {
        &self.0.signs
    }

    /// A connection that nobody uses need not be up; but one has to be, to know.
    pub(super) fn is_ready(&self) -> bool {
        let Shared { publishing, consuming, .. } = &*self.0;
        if !consuming.is_started() {
            publishing.start();
        }
        [publishing, consuming].iter().all(|line| !line.is_started() || line.is_ready())
    }

    fn place(&self, model: &str, lane: Lane) -> Place {
        Place::new(&self.0.prefix, model, lane)
    }

    fn outlet(&self, place: Place) -> Arc<Outlet> {
        let Shared { outlets, publishing, signs, stop, .. } = &*self.0;
        let name = place.queue().to_string();
        lock(outlets).entry(name).or_insert_with(|| Arc::new(Outlet::start(place, publishing.clone(), signs.clone(), stop))).clone()
    }
}

/// Messages name the fault, never the URL: it may hold a password.
fn parse(url: &str) -> Result<AMQPUri> {
    let mut uri: AMQPUri = url.parse().map_err(|fault| Error::Config(format!("the queue's URL cannot be read: {fault}")))?;
    // A dead peer is noticed after two beats; the broker's own proposal is a minute.
    uri.query.heartbeat.get_or_insert(10);
    Ok(uri)
}

fn check_prefix(prefix: &str) -> Result<()> {
    let plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    // Names that start with `amq.` belong to the broker.
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !plain || prefix.starts_with("amq.") {
        return Err(Error::Config(format!(
            "the queue prefix must be 1 to {PREFIX_BYTES_MAX} letters, digits, dots, dashes or underscores and not start with `amq.`"
        )));
    }
    Ok(())
}
