//! Where doorbells of one lane arrive: a consumer, made anew on any doubt, and the inbox it fills. Nothing about publishing.

mod inbox;
mod session;

use std::{sync::Arc, time::Duration};

use domain::envelope::Envelope;
use futures::StreamExt;
use lapin::{message::Delivery, types::FieldTable};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::DropGuard;

use self::{inbox::Inbox, session::Session};
use super::{
    super::{Doorbell, Ticket as AnyTicket, signs::Signs},
    ANSWER_WITHIN, Rabbit,
    backoff::Backoff,
    line::Line,
    link::Link,
    place::{Found, Place},
};
use crate::{Error, error::within};

pub(in super::super) use self::session::{Ticket, ack, give_back};

/// How often a silent consumer is compared with its queue.
const WATCH_EVERY: Duration = Duration::from_secs(4);

/// The doorbells of one worker.
pub(in super::super) struct Doorbells {
    inbox: Arc<Inbox>,
    /// Ends the two inlets; the broker then gives what was not answered to others.
    _stop: DropGuard,
    _rabbit: Rabbit,
}

impl Doorbells {
    pub(super) fn new(inbox: Arc<Inbox>, stop: DropGuard, rabbit: Rabbit) -> Self {
        Self { inbox, _stop: stop, _rabbit: rabbit }
    }

    pub(in super::super) async fn next(&mut self, room: usize) -> Vec<Doorbell> {
        self.inbox.take(room).await
    }
}

/// The consumer of one lane.
pub(super) struct Inlet {
    pub(super) place: Place,
    pub(super) look_ahead: u16,
    pub(super) line: Arc<Line>,
    pub(super) signs: Arc<Signs>,
    pub(super) inbox: Arc<Inbox>,
}

/// Why a consumer is made anew.
#[derive(Debug, thiserror::Error)]
enum Doubt {
    #[error(transparent)]
    Failed(#[from] Error),
    #[error("the broker ended the consumer")]
    Ended,
    #[error("the queue has messages, but none comes")]
    Silent,
    #[error("the connection ended")]
    Disconnected,
}

impl Inlet {
    /// Keeps a consumer running; never returns.
    pub(super) async fn keep(self) {
        let mut backoff = Backoff::default();
        loop {
            let link = self.line.link().await;
            let Err(doubt) = self.consume(&link).await;
            self.inbox.clear(self.place.lane());
            tracing::warn!(queue = %self.place.queue(), %doubt, "subscribing again");
            match doubt {
                Doubt::Failed(error) => link.blame(&error),
                Doubt::Silent => link.doubt(),
                Doubt::Ended | Doubt::Disconnected => {}
            }
            backoff.pause().await;
        }
    }

    async fn consume(&self, link: &Arc<Link>) -> Result<std::convert::Infallible, Doubt> {
        if self.place.settle(link).await? == Found::Lost {
            self.signs.announce(self.place.lost());
        }
        let session = Arc::new(Session::new(link.channel().await?, link.clone()));
        let channel = session.channel();
        within(ANSWER_WITHIN, "a prefetch limit", channel.basic_qos(self.look_ahead, Default::default())).await?;
        let subscribing = channel.basic_consume(self.place.queue().clone(), "".into(), Default::default(), FieldTable::default());
        let mut consumer = within(ANSWER_WITHIN, "a consumer", subscribing).await?;
        let mut watch = interval(WATCH_EVERY);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = false;
        loop {
            tokio::select! {
                delivery = consumer.next() => {
                    self.accept(&session, delivery.ok_or(Doubt::Ended)?.map_err(Error::from)?).await;
                    silent = false;
                }
                _ = watch.tick() => {
                    let waiting = self.place.look(channel).await?.message_count() > 0 && session.unanswered() < self.look_ahead.into();
                    if waiting && silent {
                        return Err(Doubt::Silent);
                    }
                    silent = waiting;
                }
                () = link.over().cancelled() => return Err(Doubt::Disconnected),
            }
        }
    }

    async fn accept(&self, session: &Arc<Session>, delivery: Delivery) {
        if delivery.redelivered {
            metrics::counter!("millrace_queue_redeliveries_total", "lane" => self.place.lane().name()).increment(1);
        }
        let ticket = session.note(delivery.delivery_tag);
        match Envelope::decode(&delivery.data) {
            Some(envelope) => self.inbox.put(self.place.lane(), Doorbell { envelope, ticket: AnyTicket::Rabbit(ticket) }),
            None => {
                tracing::warn!(queue = %self.place.queue(), bytes = delivery.data.len(), "a message that is no doorbell was dropped");
                session::answer(vec![ticket], session::Answer::Ack).await;
            }
        }
    }
}
