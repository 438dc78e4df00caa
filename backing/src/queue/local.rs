//! The queue inside one process, for the embedded backing. It keeps nothing across a restart: the store can always ring again.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use domain::{envelope::Envelope, request::Lane};
use tokio::sync::Notify;

use super::{Doorbell, LANE_CAPACITY, LaneLost, Ticket as AnyTicket, lock, signs::Signs};

/// All queues of the process; clones share them.
#[derive(Clone, Default)]
pub(super) struct Local(Arc<Shared>);

#[derive(Default)]
struct Shared {
    models: Mutex<HashMap<String, Arc<Model>>>,
    signs: Signs,
}

/// The two lanes of one model, in the order of [`Lane::ALL`].
#[derive(Default)]
struct Model {
    lanes: Mutex<[VecDeque<Envelope>; 2]>,
    rung: Notify,
}

impl Local {
    pub(super) fn publish(&self, model: &str, lane: Lane, envelopes: &[Envelope]) -> Vec<bool> {
        let model = self.model(model);
        let mut lanes = lock(&model.lanes);
        let waiting = &mut lanes[lane as usize];
        let taken = envelopes.len().min(LANE_CAPACITY.saturating_sub(waiting.len()));
        waiting.extend(envelopes[..taken].iter().cloned());
        model.rung.notify_waiters();
        (0..envelopes.len()).map(|n| n < taken).collect()
    }

    pub(super) fn subscribe(&self, model: &str, look_ahead: u16) -> Doorbells {
        Doorbells { model: self.model(model), look_ahead: look_ahead.into(), unanswered: Default::default(), tags: 0 }
    }

    pub(super) fn signs(&self) -> &Signs {
        &self.0.signs
    }

    /// The lanes of a model. New ones are announced: the doorbells of an earlier process ended with it.
    fn model(&self, name: &str) -> Arc<Model> {
        let mut models = lock(&self.0.models);
        if let Some(model) = models.get(name) {
            return model.clone();
        }
        for lane in Lane::ALL {
            self.0.signs.announce(LaneLost { model: name.to_owned(), lane });
        }
        models.entry(name.to_owned()).or_default().clone()
    }
}

/// The doorbells of one worker.
pub(super) struct Doorbells {
    model: Arc<Model>,
    look_ahead: usize,
    unanswered: [BTreeMap<u64, Envelope>; 2],
    tags: u64,
}

/// Where an unanswered doorbell is noted.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    lane: Lane,
    tag: u64,
}

impl Doorbells {
    pub(super) async fn next(&mut self, room: usize) -> Vec<Doorbell> {
        let model = self.model.clone();
        loop {
            let mut rung = std::pin::pin!(model.rung.notified());
            rung.as_mut().enable();
            let taken = self.take(room);
            if !taken.is_empty() {
                return taken;
            }
            rung.await;
        }
    }

    pub(super) fn ack(&mut self, doorbells: Vec<Doorbell>) {
        for ticket in tickets(&doorbells) {
            self.unanswered[ticket.lane as usize].remove(&ticket.tag);
        }
    }

    pub(super) fn give_back(&mut self, doorbells: Vec<Doorbell>) {
        let mut returned: [BTreeMap<u64, Envelope>; 2] = Default::default();
        for ticket in tickets(&doorbells) {
            if let Some(envelope) = self.unanswered[ticket.lane as usize].remove(&ticket.tag) {
                returned[ticket.lane as usize].insert(ticket.tag, envelope);
            }
        }
        self.put_back(returned);
    }

    fn take(&mut self, room: usize) -> Vec<Doorbell> {
        let mut taken = Vec::new();
        let mut lanes = lock(&self.model.lanes);
        for lane in Lane::ALL {
            let unanswered = &mut self.unanswered[lane as usize];
            while taken.len() < room && unanswered.len() < self.look_ahead {
                let Some(envelope) = lanes[lane as usize].pop_front() else { break };
                self.tags += 1;
                unanswered.insert(self.tags, envelope.clone());
                taken.push(Doorbell { envelope, ticket: AnyTicket::Local(Ticket { lane, tag: self.tags }) });
            }
        }
        taken
    }

    /// They stood at the front once, so that is where they go.
    fn put_back(&self, returned: [BTreeMap<u64, Envelope>; 2]) {
        let mut lanes = lock(&self.model.lanes);
        for (lane, envelopes) in lanes.iter_mut().zip(returned) {
            for envelope in envelopes.into_values().rev() {
                lane.push_front(envelope);
            }
        }
        self.model.rung.notify_waiters();
    }
}

impl Drop for Doorbells {
    fn drop(&mut self) {
        let unanswered = std::mem::take(&mut self.unanswered);
        self.put_back(unanswered);
    }
}

fn tickets(doorbells: &[Doorbell]) -> impl Iterator<Item = Ticket> {
    doorbells.iter().filter_map(|doorbell| match &doorbell.ticket {
        AnyTicket::Local(ticket) => Some(*ticket),
        AnyTicket::Rabbit(_) => None,
    })
}
