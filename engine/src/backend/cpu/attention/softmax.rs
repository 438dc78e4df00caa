//! From scores to weights: `exp(scale * score)` as a share of its sum over the positions.

use crate::backend::cpu::strided::{LANES, Lanes};
use crate::backend::cpu::vector::{Width, add_in_pairs, exp, for_every_width};

for_every_width! {
    /// The scores of many heads, side by side at each position.
    fn softmax(scores: &mut [Lanes], scale: f32) = softmax_body
}

for_every_width! {
    /// The scores of one head. They become weights when they are multiplied with `share`.
    fn softmax_one(scores: &mut [f32], scale: f32, share: &mut f32) = softmax_one_body
}

#[inline(always)]
fn softmax_body(scores: &mut [Lanes], scale: f32) {
    let mut highest = [f32::NEG_INFINITY; LANES];
    for score in scores.iter() {
        for (highest, score) in highest.iter_mut().zip(score) {
            *highest = highest.max(*score);
        }
    }
    let mut totals = [0.0; LANES];
    for score in scores.iter_mut() {
        for lane in 0..LANES {
            score[lane] = exp((score[lane] - highest[lane]) * scale);
            totals[lane] += score[lane];
        }
    }
    let shares = totals.map(|total| 1.0 / total);
    for score in scores.iter_mut() {
        for (score, share) in score.iter_mut().zip(&shares) {
            *score *= share;
        }
    }
}

#[inline(always)]
fn softmax_one_body(scores: &mut [f32], scale: f32, share: &mut f32) {
    let (blocks, rest) = scores.as_chunks_mut::<LANES>();
    let mut highest = [f32::NEG_INFINITY; LANES];
    for block in blocks.iter() {
        for (highest, score) in highest.iter_mut().zip(block) {
            *highest = highest.max(*score);
        }
    }
    let highest = highest.iter().chain(rest.iter()).copied().fold(f32::NEG_INFINITY, f32::max);
    let mut totals = [0.0; LANES];
    for block in blocks.iter_mut().map(|block| block.as_mut_slice()).chain([&mut *rest]) {
        for (total, score) in totals.iter_mut().zip(block) {
            *score = exp((*score - highest) * scale);
            *total += *score;
        }
    }
    *share = 1.0 / add_in_pairs(totals);
}
