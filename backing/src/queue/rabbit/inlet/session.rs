//! The answers to deliveries: acks and nacks on the channel that delivered, several at once where their order allows.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions},
};

use super::super::{
    super::{Doorbell, Ticket as AnyTicket, lock},
    link::Link,
};
use crate::{Error, error::within};

/// For all answers of one call together.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A channel with a consumer, and the tags of the deliveries that nobody has answered yet.
pub(super) struct Session {
    channel: Channel,
    link: Arc<Link>,
    unanswered: Mutex<BTreeSet<u64>>,
}

/// The right to answer one delivery. It does not keep its session alive: when that ends, the broker gives the delivery to somebody else.
pub(in super::super::super) struct Ticket {
    session: Weak<Session>,
    tag: u64,
}

#[derive(Clone, Copy)]
pub(super) enum Answer {
    Ack,
    Requeue,
}

/// Tells the broker that it can forget these doorbells.
pub(in super::super::super) async fn ack(doorbells: Vec<Doorbell>) {
    answer(tickets(doorbells), Answer::Ack).await;
}

/// Tells the broker to deliver these doorbells to somebody else.
pub(in super::super::super) async fn give_back(doorbells: Vec<Doorbell>) {
    answer(tickets(doorbells), Answer::Requeue).await;
}

fn tickets(doorbells: Vec<Doorbell>) -> Vec<Ticket> {
    doorbells
        .into_iter()
        .filter_map(|doorbell| match doorbell.ticket {
            AnyTicket::Rabbit(ticket) => Some(ticket),
            AnyTicket::Local(_) => None,
        })
        .collect()
}

pub(super) async fn answer(mut tickets: Vec<Ticket>, answer: Answer) {
    while let Some(Ticket { session, .. }) = tickets.first() {
        let session = session.clone();
        let (own, others) = tickets.into_iter().partition::<Vec<_>, _>(|ticket| ticket.session.ptr_eq(&session));
        tickets = others;
        if let Some(session) = session.upgrade() {
            session.answer(own.into_iter().map(|ticket| ticket.tag).collect(), answer).await;
        }
    }
}

impl Session {
    pub(super) fn new(channel: Channel, link: Arc<Link>) -> Self {
        Self { channel, link, unanswered: Mutex::default() }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(super) fn unanswered(&self) -> usize {
        lock(&self.unanswered).len()
    }

    /// Notes a delivery.
    pub(super) fn note(self: &Arc<Self>, tag: u64) -> Ticket {
        lock(&self.unanswered).insert(tag);
        Ticket { session: Arc::downgrade(self), tag }
    }

    /// An answer that is too late is of no consequence: the broker has given the message to somebody else by now.
    async fn answer(&self, tags: BTreeSet<u64>, answer: Answer) {
        if !self.channel.status().connected() {
            return;
        }
        let first_unanswered = {
            let mut unanswered = lock(&self.unanswered);
            unanswered.retain(|tag| !tags.contains(tag));
            unanswered.first().copied().unwrap_or(u64::MAX)
        };
        let sending = async {
            // All before the first unanswered one are answered, now or earlier, so that the last of them can speak for the others.
            // That holds for acks only: what was acked earlier must not come back.
            let speaks = matches!(answer, Answer::Ack).then(|| tags.range(..first_unanswered).next_back().copied()).flatten();
            if let Some(tag) = speaks {
                self.send(tag, true, answer).await?;
            }
            for &tag in tags.range(speaks.map_or(0, |tag| tag + 1)..) {
                self.send(tag, false, answer).await?;
            }
            lapin::Result::Ok(())
        };
        match within(ANSWERS_WITHIN, "an ack", sending).await {
            Ok(()) => {}
            Err(Error::Timeout { .. }) => self.link.doubt(),
            Err(error) => tracing::debug!(%error, "these doorbells will ring again"),
        }
    }

    async fn send(&self, tag: u64, multiple: bool, answer: Answer) -> lapin::Result<()> {
        match answer {
            Answer::Ack => self.channel.basic_ack(tag, BasicAckOptions { multiple }).await,
            Answer::Requeue => self.channel.basic_nack(tag, BasicNackOptions { multiple, requeue: true }).await,
        }
    }
}
