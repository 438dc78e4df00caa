//! The place of a lane on the broker: its queue, found or declared, and if it is wedged, healed. Nothing about the messages in it.

mod healing;

use std::{fmt::Write, sync::atomic::AtomicBool};

use domain::request::Lane;
use lapin::{
    Channel, ErrorKind,
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{
    super::{LANE_CAPACITY, LaneLost},
    ANSWER_WITHIN,
    link::Link,
};
use crate::{Error, Result, error::within};

/// Far above anything healthy. Attempts are counted in the store; this only ends a message that makes every reader crash.
const DELIVERIES_MAX: i64 = 100;

/// Encoded names longer than this are cut and told apart by a hash.
const MODEL_BYTES_MAX: usize = 160;

pub(super) struct Place {
    queue: ShortString,
    model: String,
    lane: Lane,
    /// The last probe cost us the connection.
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
            Ok(queue) if queue.message_count() > 0 => Ok(Found::Filled),
            Ok(queue) if queue.consumer_count() > 0 => Ok(Found::Empty),
            Ok(_) => self.probe(link).await,
            Err(error) if is(&error, AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)) => {
                self.declare(link).await?;
                Ok(Found::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// The number of messages and consumers. There is an answer even where the queue has lost its leader: then both are zero.
    pub(super) async fn look(&self, channel: &Channel) -> Result<lapin::Queue> {
        let options = QueueDeclareOptions::durable().passive();
        within(ANSWER_WITHIN, "a queue", channel.queue_declare(self.queue.clone(), options, FieldTable::default())).await
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
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
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
