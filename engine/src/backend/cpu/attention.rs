//! Attention of one row over the paged cache, for all heads that share a key and a value. In latent attention queries
//! come in the space of the cache, so these are all heads, and the value is a part of the key.

use std::cell::RefCell;
use std::ops::Range;

use crate::backend::cpu::Cache;
use crate::backend::cpu::strided::{self, LANES, Lanes, Strided};
use crate::backend::cpu::vector::{Width, exp, for_every_width};
use crate::batch::{Batch, Row};

/// Heads whose weighted sums stay in registers together.
const HEADS: usize = 4;

/// The cached entries that one row may look at, in the order of their positions.
pub(super) struct Context<'a> {
    row: Row,
    batch: &'a Batch,
    cache: &'a Cache,
    /// Numbers in an entry.
    entry: usize,
    keys: Range<usize>,
    values: Range<usize>,
}

impl<'a> Context<'a> {
    /// `keys` and `values` are the places of the shared key and value in an entry.
    pub(super) fn of(row: Row, batch: &'a Batch, cache: &'a Cache, keys: Range<usize>, values: Range<usize>) -> Context<'a> {
        Context { row, batch, cache, entry: cache.width, keys, values }
    }

    /// A run of entries for each page.
    fn pages(&self) -> impl Iterator<Item = &'a [f32]> {
        self.batch.context(self.row).map(|slots| self.cache.entries(slots))
    }
}

/// What attention works in; each compute thread keeps its own.
#[derive(Default)]
struct Scratch {
    /// The channels of all heads side by side.
    queries: Vec<Lanes>,
    /// For each position the scores of all heads, then their weights.
    scores: Vec<Lanes>,
    /// The weights of each head, position by position.
    weights: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Softmax-weighted values of the context, for each head of one row.
pub(super) fn attend(width: Width, queries: &[f32], context: &Context, scale: f32, out: &mut [f32]) {
    let (key, value) = (context.keys.len(), context.values.len());
    SCRATCH.with_borrow_mut(|Scratch { queries: panel, scores, weights }| {
        for (queries, out) in queries.chunks(LANES * key).zip(out.chunks_mut(LANES * value)) {
            // Side by side, scores are the product of the keys with a matrix.
            panel.clear();
            panel.resize(key, [0.0; LANES]);
            for (head, query) in queries.chunks_exact(key).enumerate() {
                for (lanes, channel) in panel.iter_mut().zip(query) {
                    lanes[head] = channel * scale;
                }
            }
            score(width, context, panel, scores);
            softmax(width, scores);
            weights.clear();
            for head in 0..out.len() / value {
                weights.extend(scores.iter().map(|lanes| lanes[head]));
            }
            weigh(width, Strided::packed(weights, scores.len()), context, out);
        }
    });
}

// Each of these is compiled on its own: together they are too much for the optimiser to keep their sums in registers.
for_every_width! {
    /// The product of every key with every query, position by position.
    fn score(context: &Context, queries: &[Lanes], scores: &mut Vec<Lanes>) = score_body::<1>, score_body::<4>, score_body::<8>
}

for_every_width! {
    /// Softmax over the positions, for all heads at once.
    fn softmax(scores: &mut [Lanes]) = softmax_body
}

for_every_width! {
    /// For each head the sum of weight times value.
    fn weigh(weights: Strided, context: &Context, out: &mut [f32]) = weigh_body::<LANES>, weigh_body::<LANES>, weigh_body::<{ 4 * LANES }>
}

#[inline(always)]
fn score_body<const TILE: usize>(context: &Context, queries: &[Lanes], scores: &mut Vec<Lanes>) {
    scores.clear();
    for page in context.pages() {
        let keys = Strided::packed(page, context.entry).skip(context.keys.start);
        let tiled = keys.count - keys.count % TILE;
        for first in (0..tiled).step_by(TILE) {
            scores.extend_from_slice(&strided::tile([[0.0; LANES]; TILE], keys.rows(first), queries.iter()));
        }
        for first in tiled..keys.count {
            scores.extend_from_slice(&strided::tile([[0.0; LANES]; 1], keys.rows(first), queries.iter()));
        }
    }
}

#[inline(always)]
fn softmax_body(scores: &mut [Lanes]) {
    let mut highest = [f32::NEG_INFINITY; LANES];
    for score in scores.iter() {
        for (highest, score) in highest.iter_mut().zip(score) {
            *highest = highest.max(*score);
        }
    }
    let mut totals = [0.0; LANES];
    for score in scores.iter_mut() {
        for lane in 0..LANES {
            score[lane] = exp(score[lane] - highest[lane]);
            totals[lane] += score[lane];
        }
    }
    for score in scores.iter_mut() {
        for (score, total) in score.iter_mut().zip(&totals) {
            *score /= total;
        }
    }
}

#[inline(always)]
fn weigh_body<const WIDTH: usize>(weights: Strided, context: &Context, out: &mut [f32]) {
    let value = context.values.len();
    let wide = value - value % WIDTH;
    let blocked = value - value % LANES;
    for channel in (0..wide).step_by(WIDTH) {
        weigh_heads::<WIDTH>(weights, context, channel, out);
    }
    for channel in (wide..blocked).step_by(LANES) {
        weigh_heads::<LANES>(weights, context, channel, out);
    }
    for channel in blocked..value {
        weigh_heads::<1>(weights, context, channel, out);
    }
}

/// All heads, some neighbouring channels.
#[inline(always)]
fn weigh_heads<const WIDTH: usize>(weights: Strided, context: &Context, channel: usize, out: &mut [f32]) {
    let together = weights.count - weights.count % HEADS;
    for head in (0..together).step_by(HEADS) {
        weigh_block::<HEADS, WIDTH>(weights, head, context, channel, out);
    }
    for head in together..weights.count {
        weigh_block::<1, WIDTH>(weights, head, context, channel, out);
    }
}

/// The same for some neighbouring heads and channels, in registers.
#[inline(always)]
fn weigh_block<const N: usize, const WIDTH: usize>(weights: Strided, head: usize, context: &Context, channel: usize, out: &mut [f32]) {
    let first = context.values.start + channel;
    let mut sums = [[0.0; WIDTH]; N];
    let mut position = 0;
    for page in context.pages() {
        let values = page.chunks_exact(context.entry).map(|entry| entry[first..].first_chunk().unwrap_or(&[0.0; WIDTH]));
        let entries = values.len();
        sums = strided::tile(sums, weights.skip(position).rows(head), values);
        position += entries;
    }
    for (row, sums) in sums.iter().enumerate() {
        out[(head + row) * context.values.len() + channel..][..WIDTH].copy_from_slice(sums);
    }
}
