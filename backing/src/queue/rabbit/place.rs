//! The place of a lane on the broker: its queue, found, declared, or healed. Nothing about the messages in it.

use std::{
    fmt::Write,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use domain::request::Lane;
use lapin::{
    Channel, ErrorKind,
    options::{BasicGetOptions, BasicNackOptions, QueueDeclareOptions, QueueDeleteOptions},
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    types::{FieldTable, ShortString},
};
use tokio::time::timeout;

use super::{
    super::{LANE_CAPACITY, LaneLost},
    ANSWER_WITHIN,
    link::Link,
};
use crate::{Error, Result, error::within};

/// A queue that does not even say that it is empty within this time has no leader.
const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// The broker waits five seconds for the dead members of a wedged queue before it deletes it.
const DELETE_WITHIN: Duration = Duration::from_secs(20);

/// Far above anything healthy. Attempts are counted in the store; this only ends a message that makes every reader crash.
const DELIVERIES_MAX: i64 = 100;

/// Encoded names longer than this are cut and told apart by a hash.
const MODEL_BYTES_MAX: usize = 160;

pub(super) struct Place {
    queue: ShortString,
    model: String,
    lane: Lane,
    /// The last probe ended the connection instead of being answered.
    suspect: AtomicBool,
}

/// How a queue was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// With messages in it.
    Filled,
    /// Alive and empty. What was in it may have been answered, or may be lost.
    Empty,
    /// Missing or wedged; now there is a new one.
    Lost,
}

impl Place {
    pub(super) fn new(prefix: &str, model: &str, lane: Lane) -> Self {
        let queue = format!("{prefix}.{}.{}", encode(model), lane.name()).into();
        Self { queue, model: model.to_owned(), lane, suspect: AtomicBool::new(false) }
    }

    pub(super) fn queue(&self) -> &ShortString {
        &self.queue
    }

    pub(super) const fn lane(&self) -> Lane {
        self.lane
    }

    pub(super) fn lost(&self) -> LaneLost {
        LaneLost { model: self.model.clone(), lane: self.lane }
    }

    /// Makes sure that the queue is there and has a leader. Each step takes a channel of its own, since a refusal closes it.
    pub(super) async fn settle(&self, link: &Link) -> Result<Found> {
        match self.look(&link.channel().await?).await {
            Ok(queue) if queue.message_count() > 0 || queue.consumer_count() > 0 => {
                self.suspect.store(false, Relaxed);
                Ok(if queue.message_count() > 0 { Found::Filled } else { Found::Empty })
            }
            Ok(_) if self.is_alive(link).await? => Ok(Found::Empty),
            Ok(_) => self.heal(link).await,
            Err(error) if is(&error, AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)) => {
                self.declare(link).await?;
                Ok(Found::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// The number of messages and consumers. It answers even where the queue has lost its leader: then both are zero.
    pub(super) async fn look(&self, channel: &Channel) -> Result<lapin::Queue> {
        let options = QueueDeclareOptions::durable().passive();
        within(ANSWER_WITHIN, "a queue", channel.queue_declare(self.queue.clone(), options, FieldTable::default())).await
    }

    /// Asks an empty queue for a message. A wedged one, left by a broker that died within a second of the declaration, keeps us waiting
    /// for more than a minute; some versions end the connection instead, so that the answer stands only at the next attempt.
    async fn is_alive(&self, link: &Link) -> Result<bool> {
        if self.suspect.swap(false, Relaxed) {
            return Ok(false);
        }
        let channel = link.channel().await?;
        match timeout(PROBE_WITHIN, channel.basic_get(self.queue.clone(), BasicGetOptions::default())).await {
            Ok(Ok(None)) => Ok(true),
            Ok(Ok(Some(message))) => {
                within(ANSWER_WITHIN, "a nack", message.nack(BasicNackOptions { requeue: true, ..Default::default() })).await?;
                Ok(true)
            }
            Ok(Err(error)) => {
                let error = Error::from(error);
                self.suspect.store(is(&error, AMQPErrorKind::Hard(AMQPHardError::INTERNALERROR)), Relaxed);
                Err(error)
            }
            Err(_) => Ok(false),
        }
    }

    /// Replaces a wedged queue, unless somebody else did so while we were looking. That the broker opens a channel and looks the queue up
    /// shows that it is not the broker that hangs.
    async fn heal(&self, link: &Link) -> Result<Found> {
        let channel = link.channel().await?;
        let queue = self.look(&channel).await?;
        if queue.message_count() > 0 || queue.consumer_count() > 0 {
            return Ok(Found::Empty);
        }
        tracing::warn!(queue = %self.queue, "this queue has lost its leader; replacing it");
        metrics::counter!("millrace_queue_healed_total", "lane" => self.lane.name()).increment(1);
        within(DELETE_WITHIN, "deleting a queue", channel.queue_delete(self.queue.clone(), QueueDeleteOptions::default())).await?;
        self.declare(link).await?;
        Ok(Found::Lost)
    }

    async fn declare(&self, link: &Link) -> Result<()> {
        let channel = link.channel().await?;
        let declaring = channel.queue_declare(self.queue.clone(), QueueDeclareOptions::durable(), arguments());
        within(ANSWER_WITHIN, "declaring a queue", declaring).await.map(drop)
    }
}

/// No dead-letter exchange: a doorbell that is dropped rings again from the store. No consumer timeout: a worker that holds doorbells for
/// too long loses its channel and sets up another.
fn arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), lapin::types::AMQPValue::LongString("quorum".into()));
    arguments.insert("x-overflow".into(), lapin::types::AMQPValue::LongString("reject-publish".into()));
    arguments.insert("x-max-length".into(), (LANE_CAPACITY as i64).into());
    arguments.insert("x-delivery-limit".into(), DELIVERIES_MAX.into());
    arguments
}

fn is(error: &Error, kind: AMQPErrorKind) -> bool {
    matches!(error, Error::Queue(error) if matches!(error.kind(), ErrorKind::ProtocolError(fault) if *fault.kind() == kind))
}

/// A model's name in the alphabet of queue names: percent-encoded, and if that is too long, cut and completed by a hash.
fn encode(model: &str) -> String {
    let mut name = String::new();
    for byte in model.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(byte.into()),
            _ => write!(name, "%{byte:02X}").unwrap_or_default(),
        }
    }
    if name.len() > MODEL_BYTES_MAX {
        name.truncate(MODEL_BYTES_MAX - 17);
        write!(name, "~{:016x}", fnv(model.as_bytes())).unwrap_or_default();
    }
    name
}

/// FNV-1a: the same in every version of this program, which the standard library's hashes are not.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_models_never_share_a_queue() {
        let long = "m".repeat(500);
        let names = ["nano", "Nano", "a/b", "a%2Fb", "a b", "ä", "", &long, &long[1..]];
        let queues: std::collections::HashSet<_> = names.iter().map(|name| encode(name)).collect();
        assert_eq!(queues.len(), names.len());
    }

    #[test]
    fn any_model_name_gives_a_name_that_amqp_accepts() {
        for model in ["deepseek-ai/DeepSeek-R1", "模型", "\0\n\"", &"ß".repeat(1000)] {
            let place = Place::new(&"p".repeat(super::super::PREFIX_BYTES_MAX), model, Lane::Interactive);
            assert!(place.queue().as_str().len() <= 255, "{model}");
            assert!(place.queue().as_str().is_ascii());
        }
    }
}
