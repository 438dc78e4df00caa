//! Attention of one row over the paged cache, for groups of heads that share a key and a value. In latent attention queries
//! come in the space of the cache, so all heads are one group, and the value is a part of the key.

mod paired;
mod plain;
mod softmax;

use std::ops::Range;

use crate::backend::cpu::cache::Cache;
use crate::backend::cpu::vector::Width;
use crate::batch::{Batch, Row};

/// Up to so many heads that share a key are scored one after the other: side by side most lanes would have none.
const FEW: usize = 4;

/// The cached entries that one row may look at, in the order of their positions, and where in them one group of heads does.
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

    /// That of another group: what groups share stands side by side in the order of the groups.
    fn of_group(&self, index: usize) -> Context<'a> {
        let beside = |place: &Range<usize>| place.start + index * place.len()..place.end + index * place.len();
        Context::of(self.row, self.batch, self.cache, beside(&self.keys), beside(&self.values))
    }

    /// A run of slots for each page.
    fn slots(&self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        self.batch.context(self.row)
    }
}

/// Softmax-weighted values of the context, for each head of one row; the heads are in so many `groups`, of which the context is the first's.
pub(super) fn attend(width: Width, queries: &[f32], context: &Context, groups: usize, scale: f32, out: &mut [f32]) {
    let each = queries.chunks_exact(queries.len() / groups).zip(out.chunks_exact_mut(out.len() / groups)).enumerate();
    let each = each.map(|(index, (queries, out))| (context.of_group(index), queries, out));
    match context.cache.pairs() {
        Some(pairs) => paired::attend(width, context, pairs, scale, each),
        None => each.for_each(|(context, queries, out)| plain::attend(width, queries, &context, scale, out)),
    }
}
