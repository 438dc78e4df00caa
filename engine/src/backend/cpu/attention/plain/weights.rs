//! How much each head looks at each position: the softmax of its scores. Heads are computed side by side in the lanes of a register.

use super::pages;
use crate::backend::cpu::attention::Context;
use crate::backend::cpu::attention::softmax::softmax;
use crate::backend::cpu::strided::{self, LANES, Lanes, Strided};
use crate::backend::cpu::vector::{Width, for_every_width};

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
    let key = context.cache.width();
    let heads = queries.len() / key;
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
    weights.clear();
    for head in 0..heads {
        weights.extend(scores.iter().map(|lanes| lanes[head]));
    }
    Strided::packed(weights, scores.len())
}

for_every_width! {
    /// The product of every key with every query, position by position: that of the keys with a matrix.
    fn score(context: &Context, queries: &[Lanes], scores: &mut Vec<Lanes>) = score_body::<1>, score_body::<4>, score_body::<8>
}

#[inline(always)]
fn score_body<const TILE: usize>(context: &Context, queries: &[Lanes], scores: &mut Vec<Lanes>) {
    scores.clear();
    for page in pages(context) {
        let keys = Strided::packed(page, context.cache.width());
        let tiled = keys.count - keys.count % TILE;
        for first in (0..tiled).step_by(TILE) {
            scores.extend_from_slice(&strided::tile([[0.0; LANES]; TILE], keys.rows(first), queries.iter()));
        }
        for first in tiled..keys.count {
            scores.extend_from_slice(&strided::tile([[0.0; LANES]; 1], keys.rows(first), queries.iter()));
        }
    }
}
