//! How much each head looks at each position: the softmax of its scores. Many heads that share a key are computed side by side in the
//! lanes of a register, few heads one after the other with channels or positions side by side.

use super::pages;
use crate::backend::cpu::attention::softmax::{softmax, softmax_one};
use crate::backend::cpu::attention::{Context, FEW};
use crate::backend::cpu::strided::{self, LANES, Lanes, Strided};
use crate::backend::cpu::vector::{Width, add_in_pairs, for_every_width};

/// What weights are computed in; each compute thread keeps its own.
#[derive(Default)]
pub(super) struct Scratch {
    /// The channels of all heads side by side.
    queries: Vec<Lanes>,
    /// For each position the scores of all heads, then their weights.
    scores: Vec<Lanes>,
    /// The weights of each head, position by position.
    weights: Vec<f32>,
}

/// `[heads][positions]` for up to as many heads as there are lanes.
pub(super) fn of<'a>(width: Width, queries: &[f32], context: &Context, scale: f32, scratch: &'a mut Scratch) -> Strided<'a> {
    let key = context.keys.len();
    let heads = queries.len() / key;
    scratch.weights.clear();
    if heads <= FEW {
        for query in queries.chunks_exact(key) {
            let first = scratch.weights.len();
            score_one(width, context, query, &mut scratch.weights);
            softmax_one(width, &mut scratch.weights[first..], scale);
        }
    } else {
        let Scratch { queries: panel, scores, weights } = scratch;
        panel.clear();
        panel.resize(key, [0.0; LANES]);
        for (head, query) in queries.chunks_exact(key).enumerate() {
            for (lanes, channel) in panel.iter_mut().zip(query) {
                lanes[head] = *channel;
            }
        }
        score(width, context, panel, scores);
        softmax(width, scores, scale);
        for head in 0..heads {
            weights.extend(scores.iter().map(|lanes| lanes[head]));
        }
    }
    Strided::packed(&scratch.weights, scratch.weights.len() / heads)
}

// Each of these is compiled on its own: together they are too much for the optimiser to keep their sums in registers.
for_every_width! {
    /// The product of every key with every query, position by position: that of the keys with a matrix.
    fn score(context: &Context, queries: &[Lanes], scores: &mut Vec<Lanes>) = score_body::<1>, score_body::<4>, score_body::<8>
}

for_every_width! {
    /// The product of every key with one query.
    fn score_one(context: &Context, query: &[f32], scores: &mut Vec<f32>) = score_one_body
}

#[inline(always)]
fn score_body<const TILE: usize>(context: &Context, queries: &[Lanes], scores: &mut Vec<Lanes>) {
    scores.clear();
    for page in pages(context) {
        let keys = Strided::packed(page, context.cache.width()).skip(context.keys.start);
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
fn score_one_body(context: &Context, query: &[f32], scores: &mut Vec<f32>) {
    for page in pages(context) {
        scores.extend(page.chunks_exact(context.cache.width()).map(|entry| dot(&entry[context.keys.clone()], query)));
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    add_in_pairs(sums)
}
