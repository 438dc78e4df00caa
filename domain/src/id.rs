//! Typed ids: a time-sortable UUID inside, one prefixed string everywhere outside (API, files, webhooks, logs).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id that starts with `{prefix}`")]
pub struct InvalidId {
    /// The prefix that ids of this kind carry.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What the text form of this id starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id; later ids sort after earlier ones.
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The value that the store keeps.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, suffix(self.0))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix).and_then(parse_suffix).map(Self).ok_or(InvalidId { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Who owns files, batches and requests, and whose share is accounted.
    TenantId = "tenant_";
    /// An API key (not its secret).
    KeyId = "key_";
    /// An uploaded or written file.
    FileId = "file-";
    /// A batch of requests from one file.
    BatchId = "batch_";
    /// One request: a batch line or a single call. Its other spellings are below.
    RequestId = "req_";
    /// Something that happened and that webhooks tell about.
    EventId = "evt_";
    /// One event on its way to one URL; the `webhook-id` of all its attempts.
    DeliveryId = "wh_";
    /// A consumer process, for as long as it lives.
    WorkerId = "worker_";
}

impl RequestId {
    /// The id of the result line of a batch file.
    pub fn batch_line(self) -> String {
        format!("batch_req_{}", suffix(self.0))
    }

    /// The id with another prefix of the contract, such as `chatcmpl-`.
    pub fn prefixed(self, prefix: &str) -> String {
        format!("{prefix}{}", suffix(self.0))
    }

    /// Reads any of the spellings under which a client meets a request.
    pub fn parse_any(text: &str) -> Result<Self, InvalidId> {
        ["chatcmpl-", "cmpl-", "batch_req_", Self::PREFIX]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix).and_then(parse_suffix))
            .map(Self)
            .ok_or(InvalidId { prefix: Self::PREFIX })
    }
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SUFFIX_LENGTH: usize = 22;

/// Base 62 with a fixed width and ASCII-ordered digits, so that texts sort as the numbers do.
fn suffix(uuid: Uuid) -> String {
    let mut rest = uuid.as_u128();
    let mut text = [b'0'; SUFFIX_LENGTH];
    for place in text.iter_mut().rev() {
        *place = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    text.iter().map(|&digit| digit as char).collect()
}

fn parse_suffix(text: &str) -> Option<Uuid> {
    if text.len() != SUFFIX_LENGTH {
        return None;
    }
    text.bytes()
        .try_fold(0u128, |value, byte| {
            let digit = DIGITS.binary_search(&byte).ok()? as u128;
            value.checked_mul(62)?.checked_add(digit)
        })
        .map(Uuid::from_u128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = BatchId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().starts_with("batch_"));
    }

    #[test]
    fn later_ids_sort_after_earlier_ones_as_text() {
        let ids: Vec<String> = (0..1000).map(|_| FileId::new().to_string()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn foreign_prefixes_wrong_lengths_and_overflows_are_refused() {
        for text in ["", "file-", "file-abc", "batch_0000000000000000000000", "file-zzzzzzzzzzzzzzzzzzzzzz", "file-000000000000000000000-"]
        {
            assert_eq!(text.parse::<FileId>(), Err(InvalidId { prefix: "file-" }), "{text}");
        }
    }

    #[test]
    fn a_request_is_found_under_each_of_its_spellings() {
        let id = RequestId::new();
        for text in [id.to_string(), id.batch_line(), id.prefixed("chatcmpl-"), id.prefixed("cmpl-")] {
            assert_eq!(RequestId::parse_any(&text), Ok(id));
        }
    }
}
