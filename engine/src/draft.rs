//! Drafts: after a step, the layer for multi-token prediction guesses which token comes after the one just drawn, and the next step computes
//! both. A draft counts only if it is what is drawn then, so it changes no answer.

use crate::batch::{Batch, Span};
use crate::kv::Pages;
use crate::sequence::Sequence;

/// How good the drafts of an engine were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DraftCounts {
    /// Drafts that were computed along with the token before them.
    pub proposed: u64,
    /// Those of them that were drawn.
    pub accepted: u64,
}

/// What the draft layer computes after a step, for the requests that go on.
#[derive(Debug, Default)]
pub(crate) struct DraftBatch {
    /// All tokens that the step has computed, each replaced by the one after it: every one gets its entry in the layer's cache.
    /// The sampled rows are those that `asking` goes on with.
    pub(crate) entries: Batch,
    /// For each of these rows, the row of the step with the state before the token.
    pub(crate) states: Vec<u32>,
    /// The last row of every request that has drawn a token: a draft is wanted after it.
    pub(crate) asking: Batch,
}

impl DraftBatch {
    pub(crate) fn clear(&mut self, page_tokens: usize) {
        self.entries.clear(page_tokens);
        self.asking.clear(page_tokens);
        self.states.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds what a span of the step's batch has computed of a request, which is the running one of this index.
    pub(crate) fn push(&mut self, index: usize, sequence: &mut Sequence, pages: &mut Pages, batch: &Batch, span: &Span) {
        if !sequence.has_use_for_draft() {
            return;
        }
        let before = batch.rows[span.rows.start].position;
        let places = sequence.draft(before, pages);
        if places.is_empty() {
            return;
        }
        let asks = !span.sampled.is_empty();
        self.entries.push(index, places.start, &sequence.tokens[places.start + 1..=places.end], &sequence.pages, asks);
        let first_row = span.rows.start + places.start - before;
        self.states.extend((first_row..first_row + places.len()).map(|row| row as u32));
        if asks {
            self.asking.push(index, places.end - 1, &sequence.tokens[places.end..=places.end], &sequence.pages, true);
            self.asking.look_from(sequence.drafted.start);
        }
    }
}
