//! Where doorbells of one lane leave: a channel with confirms, made anew whenever a publish raises a doubt. Nothing about consuming.

use std::{sync::Arc, time::Duration};

use domain::envelope::Envelope;
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::signs::Signs,
    ANSWER_WITHIN,
    backoff::Backoff,
    line::Line,
    link::Link,
    place::{Found, Place},
};
use crate::{Result, error::within};

/// The bound of a whole publish, the wait for a connection and for its turn included.
const PUBLISH_WITHIN: Duration = Duration::from_secs(5);

/// Messages on their way before their confirms are awaited. Beyond some hundreds nothing is gained.
const GROUP: usize = 512;

const PERSISTENT: u8 = 2;

pub(super) struct Outlet {
    line: Arc<Line>,
    session: watch::Receiver<Option<Arc<Session>>>,
    /// One group at a time, so that a returned message can only belong to the group that is waiting.
    turn: Mutex<()>,
}

/// A channel with confirms to a queue that was there when the channel was made.
struct Session {
    queue: ShortString,
    channel: Channel,
    link: Arc<Link>,
    over: CancellationToken,
}

/// How a group ended.
#[derive(PartialEq, Eq)]
enum Outcome {
    Confirmed,
    /// Refused or returned: the queue is full, missing or wedged.
    Refused,
}

impl Outlet {
    /// Starts the task that keeps a session; it ends with `stop`.
    pub(super) fn start(place: Place, line: Arc<Line>, signs: Arc<Signs>, stop: &CancellationToken) -> Self {
        let (sender, session) = watch::channel(None);
        tokio::spawn(stop.clone().run_until_cancelled_owned(keep(place, line.clone(), signs, sender)));
        Self { line, session, turn: Mutex::new(()) }
    }

    /// True for each envelope that the broker confirmed, in order.
    pub(super) async fn publish(&self, envelopes: &[Envelope]) -> Vec<bool> {
        let mut confirmed = vec![false; envelopes.len()];
        if self.line.is_hopeless() {
            return confirmed;
        }
        let started = Instant::now();
        let mut used = None;
        let publishing = async {
            let _turn = self.turn.lock().await;
            let session = used.insert(self.session().await);
            for (group, confirmed) in envelopes.chunks(GROUP).zip(confirmed.chunks_mut(GROUP)) {
                if session.publish(group, confirmed).await? == Outcome::Refused {
                    return Ok(Outcome::Refused);
                }
            }
            lapin::Result::Ok(Outcome::Confirmed)
        };
        let result = timeout_at(started + PUBLISH_WITHIN, publishing).await;
        metrics::histogram!("millrace_queue_confirm_seconds").record(started.elapsed().as_secs_f64());
        if let Some(session) = used {
            session.judge(result);
        }
        confirmed
    }

    async fn session(&self) -> Arc<Session> {
        let mut session = self.session.clone();
        loop {
            if let Some(session) = &*session.borrow_and_update()
                && !session.over.is_cancelled()
            {
                return session.clone();
            }
            if session.changed().await.is_err() {
                // The task that keeps the session was stopped: nothing will come any more, and the caller's bound ends the wait.
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn keep(place: Place, line: Arc<Line>, signs: Arc<Signs>, sender: watch::Sender<Option<Arc<Session>>>) {
    let mut backoff = Backoff::default();
    loop {
        let link = line.link().await;
        match Session::open(&place, &link, &signs).await {
            Ok(session) => {
                let over = session.over.clone();
                sender.send_replace(Some(Arc::new(session)));
                over.cancelled().await;
                sender.send_replace(None);
            }
            Err(error) => {
                tracing::warn!(queue = %place.queue(), %error, "cannot publish to this queue yet");
                link.blame(&error);
            }
        }
        backoff.pause().await;
    }
}

impl Session {
    async fn open(place: &Place, link: &Arc<Link>, signs: &Signs) -> Result<Self> {
        let found = place.settle(link).await?;
        let channel = link.channel().await?;
        within(ANSWER_WITHIN, "confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        // An empty queue may also be the new one that somebody else declared in place of ours.
        if found != Found::Filled {
            signs.announce(place.lost());
        }
        Ok(Self { queue: place.queue().clone(), channel, link: link.clone(), over: link.over().child_token() })
    }

    /// Publishes a group and notes which messages are safe: only those acked and not returned. lapin pairs returned messages with
    /// confirms by order of arrival alone, so that one returned message puts its whole group in doubt.
    async fn publish(&self, group: &[Envelope], confirmed: &mut [bool]) -> lapin::Result<Outcome> {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_content_type("application/json".into());
        let mut confirms = Vec::with_capacity(group.len());
        for envelope in group {
            let body = envelope.encode();
            confirms.push(self.channel.basic_publish("".into(), self.queue.clone(), options, &body, properties.clone()).await?);
        }
        let mut outcome = Outcome::Confirmed;
        let mut returned = false;
        for (confirm, confirmed) in confirms.into_iter().zip(confirmed.iter_mut()) {
            match confirm.await? {
                Confirmation::Ack(None) => *confirmed = true,
                Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => returned = true,
                Confirmation::Nack(None) | Confirmation::NotRequested => outcome = Outcome::Refused,
            }
        }
        if returned {
            confirmed.fill(false);
            outcome = Outcome::Refused;
        }
        Ok(outcome)
    }

    /// Draws the consequences of a publish.
    fn judge(&self, result: std::result::Result<lapin::Result<Outcome>, tokio::time::error::Elapsed>) {
        let outcome = match result {
            Ok(Ok(Outcome::Confirmed)) => "confirmed",
            Ok(Ok(Outcome::Refused)) => {
                self.over.cancel();
                "refused"
            }
            Ok(Err(error)) => {
                tracing::warn!(queue = %self.queue, %error, "publishing failed");
                self.link.doubt();
                "failed"
            }
            // An alarm passes, and a new connection would only run into it again.
            Err(_) if self.link.is_blocked() => "blocked",
            Err(_) => {
                tracing::warn!(queue = %self.queue, "no confirm within {PUBLISH_WITHIN:?}");
                self.link.doubt();
                "unconfirmed"
            }
        };
        metrics::counter!("millrace_queue_publishes_total", "outcome" => outcome).increment(1);
    }
}
