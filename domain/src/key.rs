//! API keys: their text form, and the hash under which the store knows them.

use sha2::{Digest, Sha256};

/// What every key starts with, so that secret scanners can find leaked ones.
const PREFIX: &str = "mr_live_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key as its owner holds it. It is shown once and never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Spells a key from 32 random bytes: 190 bits in 32 characters, then a 6-character checksum.
    pub fn from_random(random: [u8; 32]) -> Self {
        let secret: String = random.iter().map(|byte| DIGITS[usize::from(*byte) % 62] as char).collect();
        Self(format!("{PREFIX}{secret}{}", checksum(&secret)))
    }

    /// Reads a key; `None` if prefix, length or checksum is wrong, so that typing errors never reach the store.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let (secret, sum) = rest.split_at_checked(32)?;
        (checksum(secret) == sum).then(|| Self(text.to_owned()))
    }

    /// SHA-256 of the key. A slow hash would only help attackers to keep us busy: the key is random enough.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The last four characters, for lists.
    pub fn hint(&self) -> &str {
        &self.0[self.0.len() - 4..]
    }

    /// The text to hand to the owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

fn checksum(secret: &str) -> String {
    Sha256::digest(secret.as_bytes())[..6].iter().map(|byte| DIGITS[usize::from(*byte) % 62] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_form_and_typing_errors_do_not() {
        let key = ApiKey::from_random([7; 32]);
        assert!(ApiKey::parse(key.reveal()) == Some(key.clone()));
        let mistyped = key.reveal().replacen('7', "8", 1);
        assert!(ApiKey::parse(&mistyped).is_none());
        assert!(ApiKey::parse("sk-something").is_none());
        assert!(ApiKey::parse("mr_live_é").is_none());
    }
}
