//! Lines of batches as rows of `requests`: inserted by validation, read in order by assembly.

use super::*;
use domain::{batch::Batch, request::State};

/// A validated line.
#[derive(Clone, Debug)]
pub struct NewLine {
    pub line: u64,
    pub custom_id: String,
    pub model: String,
    pub cost: u64,
    pub body_offset: u64,
    pub body_bytes: u32,
}

impl Store {
    /// Inserts a chunk of lines, which wait invisibly until [`Store::start_batch`]. Lines that are there already are left as they
    /// are, so that a validation may start over. False if the lease is lost.
    pub async fn insert_lines(&self, batch: &Batch, term: Term, lines: &[NewLine]) -> Result<bool> {
        todo!("{batch:?} {term:?} {lines:?}")
    }

    /// Up to `limit` ended lines of a batch after a line number, in line order, with their results.
    pub async fn ended_lines(&self, batch: BatchId, after: u64, limit: u32) -> Result<Vec<LineResult>> {
        todo!("{batch} {after} {limit} {:?}", State::Queued)
    }
}
