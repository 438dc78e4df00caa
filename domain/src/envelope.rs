//! The message that travels through the queue: a doorbell with ids, never the work itself.

use serde::{Deserialize, Serialize};

use crate::id::RequestId;

/// Largest encoded envelope, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 1024;

/// "Look at this request now." Versioned, so that old and new processes can share a broker during an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v")]
pub enum Envelope {
    #[serde(rename = "1")]
    V1 {
        request: RequestId,
        /// The trace of the call that submitted the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        traceparent: Option<String>,
    },
}

impl Envelope {
    /// A doorbell for one request. A trace parent that is not 55 characters long is left out rather than passed on.
    pub fn new(request: RequestId, traceparent: Option<String>) -> Self {
        Self::V1 { request, traceparent: traceparent.filter(|text| text.len() == 55) }
    }

    /// The request that the doorbell is about.
    pub const fn request(&self) -> RequestId {
        let Self::V1 { request, .. } = self;
        *request
    }

    /// The bytes to publish, at most [`ENVELOPE_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a message; `None` for anything foreign, which the reader acknowledges and drops.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_survives_the_queue_within_its_bound() {
        let envelope = Envelope::new(RequestId::new(), Some(crate::trace::TraceParent::root().to_string()));
        let bytes = envelope.encode();
        assert!(bytes.len() <= ENVELOPE_BYTES_MAX);
        assert_eq!(Envelope::decode(&bytes), Some(envelope));
    }

    #[test]
    fn foreign_messages_are_not_understood() {
        assert_eq!(Envelope::decode(br#"{"v":"2","request":"x"}"#), None);
        assert_eq!(Envelope::decode(&[b' '; ENVELOPE_BYTES_MAX + 1]), None);
    }
}
