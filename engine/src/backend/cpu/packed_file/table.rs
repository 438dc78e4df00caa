//! The beginning of a packed file: a magic number, the length and the digest of a table in JSON, and the table, which says where
//! each matrix lies in what follows.

use std::collections::HashMap;
use std::sync::Arc;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::backend::cpu::format::Format;
use crate::backend::cpu::matrix::Layout;
use crate::backend::cpu::packed_file::Entry;
use crate::backend::cpu::slab::Slab;

const MAGIC: &[u8; 8] = b"MRPACKED";
/// Magic number, length of the table, its digest in hexadecimal digits.
const HEADER_BYTES: usize = MAGIC.len() + size_of::<u64>() + 64;
/// Where words may begin: at a page.
const PAGE_BYTES: usize = 4096;

/// Which matrices a file has.
#[derive(Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) key: String,
    /// The words of all matrices together.
    pub(super) bytes: u64,
    matrices: Vec<Line>,
}

/// One matrix; its words begin so many bytes behind the first of all.
#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    format: String,
    outputs: u32,
    inputs: u32,
    first: u64,
}

impl Table {
    /// The table of matrices that are written one after another.
    pub(super) fn of(key: String, entries: &[Entry]) -> Table {
        let mut bytes = 0;
        let line = |entry: &Entry| {
            let Layout { format, outputs, inputs } = entry.layout;
            let first = bytes;
            bytes += entry.words.as_bytes().len() as u64;
            Line { name: entry.name.clone(), format: format.name().to_owned(), outputs: outputs as u32, inputs: inputs as u32, first }
        };
        let matrices = entries.iter().map(line).collect();
        Table { key, bytes, matrices }
    }

    /// Everything before the words.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let table = serde_json::to_vec(self).unwrap_or_default();
        let length = (table.len() as u64).to_le_bytes();
        let mut bytes = [MAGIC.as_slice(), &length, digest(&table).as_bytes(), &table].concat();
        bytes.resize(words_begin(table.len()), 0);
        bytes
    }

    /// Reads the table of a file, or says what is wrong with the file. Damage to the table or to the length is found, damage to the words is not.
    pub(super) fn read(file: &[u8]) -> Result<Table, String> {
        let rest = file.strip_prefix(MAGIC).ok_or("the file does not begin as such files do")?;
        let (length, rest) = rest.split_first_chunk().ok_or("the file is cut short")?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (digest_there, rest) = rest.split_at_checked(64).ok_or("the file is cut short")?;
        let bytes = rest.get(..length).ok_or("the file is cut short")?;
        if digest(bytes).as_bytes() != digest_there {
            return Err("the table is damaged".to_owned());
        }
        let table: Table = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if (words_begin(length) as u64).checked_add(table.bytes) != Some(file.len() as u64) {
            return Err("the file is not as long as it was".to_owned());
        }
        Ok(table)
    }

    /// The matrices, where they lie in the file.
    pub(super) fn entries(self, map: &Arc<Mmap>) -> Result<HashMap<String, Entry>, String> {
        let begin = map.len() - self.bytes as usize;
        let entry = |line: Line| {
            let format = Format::of_name(&line.format)?;
            let layout = Layout { format, outputs: line.outputs as usize, inputs: line.inputs as usize };
            let start = begin.checked_add(usize::try_from(line.first).ok()?)?;
            let words = Slab::in_file(map, start, layout.panels().checked_mul(layout.stride())?)?;
            Some((line.name.clone(), Entry { name: line.name, layout, words }))
        };
        self.matrices.into_iter().map(|line| entry(line).ok_or_else(|| "a matrix lies outside of the file".to_owned())).collect()
    }
}

fn words_begin(table: usize) -> usize {
    (HEADER_BYTES + table).next_multiple_of(PAGE_BYTES)
}

/// In hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
