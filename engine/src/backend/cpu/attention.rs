//! Attention of one row over the paged cache, for all heads that share a key and a value. In latent attention queries
//! come in the space of the cache, so these are all heads, and the value is a part of the key.

mod paired;
mod plain;
mod softmax;

use std::ops::Range;

use crate::backend::cpu::cache::Cache;
use crate::backend::cpu::vector::Width;
use crate::batch::{Batch, Row};

/// Up to so many heads that share a key are scored one after the other: side by side most lanes would have none.
const FEW: usize = 4;

/// The cached entries that one row may look at, in the order of their positions.
pub(super) struct Context<'a> {
    row: Row,
    batch: &'a Batch,
    cache: &'a Cache,
    keys: Range<usize>,
    values: Range<usize>,
}

impl<'a> Context<'a> {
    /// `keys` and `values` are the places of the shared key and value in an entry.
    pub(super) fn of(row: Row, batch: &'a Batch, cache: &'a Cache, keys: Range<usize>, values: Range<usize>) -> Context<'a> {
        assert!(keys.end <= cache.width() && values.end <= cache.width(), "{keys:?} and {values:?} in {}", cache.width());
        assert!(keys.start.is_multiple_of(2), "a key begins with a pair, not at {}", keys.start);
        Context { row, batch, cache, keys, values }
    }

    /// A run of slots for each page.
    fn slots(&self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        self.batch.context(self.row)
    }
}

/// Softmax-weighted values of the context, for each head of one row.
pub(super) fn attend(width: Width, queries: &[f32], context: &Context, scale: f32, out: &mut [f32]) {
    match context.cache.pairs() {
        Some(pairs) => paired::attend(width, queries, context, pairs, scale, out),
        None => plain::attend(width, queries, context, scale, out),
    }
}
