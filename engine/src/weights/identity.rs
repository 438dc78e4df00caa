//! What tells the weights of one model from all others without reading them through: their files' names, sizes, times and headers,
//! a sample of their bytes, since copies may keep their times, and the configuration that says how they are read.

use sha2::{Digest, Sha256};

use crate::options::ModelSource;
use crate::weights::Weights;

/// Places in each file at which the sample is taken, and the bytes taken there.
const PLACES: usize = 256;
const PLACE_BYTES: usize = 64;

impl Weights {
    /// As hexadecimal digits; None where there is no folder of files.
    pub(crate) fn identity(&self, source: &ModelSource) -> Option<String> {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(&source.read("config.json").ok()??);
        for (name, bytes) in &self.shards {
            add(name.as_bytes());
            add(&(bytes.len() as u64).to_le_bytes());
            add(&source.modified(name)?.to_le_bytes());
            add(header(bytes));
            for place in 0..PLACES {
                let first = (bytes.len() as u128 * place as u128 / PLACES as u128) as usize;
                add(&bytes[first..bytes.len().min(first + PLACE_BYTES)]);
            }
        }
        Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The names, shapes and places of the tensors in a file: its first eight bytes are their length.
fn header(bytes: &[u8]) -> &[u8] {
    let (length, rest) = bytes.split_first_chunk().unwrap_or((&[0; 8], bytes));
    rest.get(..u64::from_le_bytes(*length) as usize).unwrap_or(rest)
}
