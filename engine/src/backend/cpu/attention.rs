//! Attention over the paged cache: of latents, which all heads of a row share, here and in `paired.rs` and `plain.rs`; of keys and values,
//! which heads and rows share in groups, in `grouped.rs`.

pub(super) mod grouped;
mod paired;
mod plain;
mod softmax;

use std::ops::Range;

use crate::backend::cpu::latent::Latent;
use crate::backend::cpu::vector::Width;
use crate::batch::{Batch, Row};

/// The cached entries that one row may look at, in the order of their positions. An entry is a key, and its first numbers are a value:
/// queries come in the space of the cache.
pub(super) struct Context<'a> {
    row: Row,
    batch: &'a Batch,
    cache: &'a Latent,
    /// Numbers of a value.
    value: usize,
}

impl<'a> Context<'a> {
    pub(super) fn of(row: Row, batch: &'a Batch, cache: &'a Latent, value: usize) -> Context<'a> {
        assert!(value <= cache.width(), "a value of {value} numbers in {}", cache.width());
        Context { row, batch, cache, value }
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
