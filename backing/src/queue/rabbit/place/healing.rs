//! Healing of a wedged queue: one that has lost its leader, as those do whose broker is killed within a second of the declaration. It
//! exists and seems empty, but takes nothing and gives nothing, until it is deleted and declared again.

use std::{future::pending, pin::pin, sync::atomic::Ordering::Relaxed, time::Duration};

use lapin::{
    Channel,
    message::BasicGetMessage,
    options::{BasicGetOptions, BasicNackOptions, QueueDeclareOptions, QueueDeleteOptions},
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    types::{FieldTable, ShortString},
};
use tokio::time::timeout;

use super::{
    super::{ANSWER_WITHIN, link::Link},
    Found, Place, is,
};
use crate::{Error, Result, error::within};

/// A queue that does not even say that it is empty within this time has no leader.
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// For the news that somebody else has just healed the queue.
const NEWS_WITHIN: Duration = Duration::from_millis(500);

/// The broker looks for the dead members of a wedged queue for five seconds before it deletes it.
const DELETE_WITHIN: Duration = Duration::from_secs(20);

impl Place {
    /// Asks a queue that seems empty for a message. A wedged one keeps us waiting for more than a minute, so that no answer is an answer:
    /// the queue is replaced. That the broker opens channels meanwhile shows that it is not the broker that hangs.
    pub(super) async fn probe(&self, link: &Link) -> Result<Found> {
        let channel = link.channel().await?;
        let suspect = self.suspect.swap(false, Relaxed);
        let mut asking = pin!(async {
            // Asking again would only cost us this connection, too.
            if suspect { pending().await } else { channel.basic_get(self.queue.clone(), BasicGetOptions::default()).await }
        });
        if let Ok(answer) = timeout(PROBE_WITHIN, &mut asking).await {
            return self.alive(answer).await;
        }
        let Some(lock) = self.lock(link).await? else {
            // Whoever heals the queue deletes it, and that ends our question.
            return self.alive(timeout(DELETE_WITHIN, asking).await.map_err(|_| self.timed_out())?).await;
        };
        // A queue healed before we had the lock was deleted before, too.
        if let Ok(answer) = timeout(NEWS_WITHIN, &mut asking).await {
            return self.alive(answer).await;
        }
        tracing::warn!(queue = %self.queue, "this queue has lost its leader; replacing it");
        metrics::counter!("millrace_queue_healed_total", "lane" => self.lane.name()).increment(1);
        let deleting = link.channel().await?;
        within(DELETE_WITHIN, "deleting a queue", deleting.queue_delete(self.queue.clone(), QueueDeleteOptions::default())).await?;
        // The question fails now. lapin would give the connection up if that news met a channel that we have closed.
        let _ = timeout(ANSWER_WITHIN, asking).await;
        self.declare(link).await?;
        within(ANSWER_WITHIN, "unlocking", lock.queue_delete(self.lock_name(), QueueDeleteOptions::default())).await?;
        Ok(Found::Lost)
    }

    /// Judges an answer, and puts back what it brought.
    async fn alive(&self, answer: lapin::Result<Option<BasicGetMessage>>) -> Result<Found> {
        match answer.map_err(Error::from) {
            Ok(None) => Ok(Found::Empty),
            Ok(Some(message)) => {
                let requeue = BasicNackOptions { requeue: true, ..Default::default() };
                within(ANSWER_WITHIN, "a nack", message.nack(requeue)).await.map(|_| Found::Filled)
            }
            Err(error) => {
                // A broker may also end the connection over a queue without a leader.
                self.suspect.store(is(&error, AMQPErrorKind::Hard(AMQPHardError::INTERNALERROR)), Relaxed);
                Err(error)
            }
        }
    }

    /// The right to replace the queue: two who did so at once would lose what was published in between. An exclusive queue serves as the
    /// lock; it lasts until it is deleted or the connection ends. `None`: somebody else has it.
    async fn lock(&self, link: &Link) -> Result<Option<Channel>> {
        let channel = link.channel().await?;
        let declaring = channel.queue_declare(self.lock_name(), QueueDeclareOptions::exclusive(), FieldTable::default());
        match within(ANSWER_WITHIN, "a lock", declaring).await {
            Ok(_) => Ok(Some(channel)),
            Err(error) if is(&error, AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock_name(&self) -> ShortString {
        format!("{}.healing", self.queue).into()
    }

    fn timed_out(&self) -> Error {
        Error::Timeout { what: "healing a queue", after: DELETE_WITHIN }
    }
}
