//! The loops in plain arithmetic. A product of two bf16 is exact in f32, so it makes no difference that it is not fused.

use super::{Loops, Positions, Weights};
use crate::backend::cpu::format::to_bf16;
use crate::backend::cpu::strided::{LANES, Lanes};
use crate::backend::cpu::vector::{Width, for_every_width};

pub(super) const LOOPS: Loops = Loops { score, weigh };

for_every_width! {
    /// The numbers of two positions each, rounded into one word; beside the last of an odd number stands zero.
    fn pair(numbers: &[Lanes], words: &mut Vec<[u32; LANES]>) = pair_body
}

#[inline(always)]
fn pair_body(numbers: &[Lanes], words: &mut Vec<[u32; LANES]>) {
    for two in numbers.chunks(2) {
        let second = two.get(1).unwrap_or(&[0.0; LANES]);
        let word = |lane: usize| to_bf16(two[0][lane]) >> 16 | to_bf16(second[lane]) & 0xffff_0000;
        words.push(std::array::from_fn(word));
    }
}

/// Adds the products of two pairs.
#[inline(always)]
fn add(sum: &mut f32, a: u32, b: u32) {
    let halves = |word: u32| [f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000)];
    let ([a0, a1], [b0, b1]) = (halves(a), halves(b));
    *sum += a1 * b1;
    *sum += a0 * b0;
}

fn score(positions: Positions, queries: &[[u32; LANES]], _heads: usize, scores: &mut [Lanes]) {
    for (position, scores) in scores.iter_mut().enumerate() {
        for (key, queries) in positions.entry(position).iter().zip(queries) {
            for (score, query) in scores.iter_mut().zip(queries) {
                add(score, *key, *query);
            }
        }
    }
}

fn weigh(positions: Positions, value: usize, weights: Weights, out: &mut [f32]) {
    out.fill(0.0);
    let half = |entry: &[u32], number: usize| entry[number / 2] >> (16 * (number % 2)) & 0xffff;
    for (head, out) in out.chunks_exact_mut(value).enumerate() {
        for (pair, weights) in weights.words.iter().enumerate() {
            let (first, second) = (positions.entry(2 * pair), positions.entry(2 * pair + 1));
            for (number, out) in out.iter_mut().enumerate() {
                add(out, half(first, number) | half(second, number) << 16, weights[head]);
            }
        }
    }
}
