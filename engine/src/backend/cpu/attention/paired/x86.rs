//! The loops with `vdpbf16ps`.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::{Loops, Positions, Weights};
use crate::backend::cpu::latent::LINE;
use crate::backend::cpu::strided::{LANES, Lanes};
use crate::backend::cpu::vector::Width;

/// Numbers of bf16 in a register.
const NUMBERS: usize = 2 * LINE;

pub(super) fn loops(width: Width) -> Option<Loops> {
    let able = matches!(width, Width::Avx512) && is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw");
    able.then_some(Loops { score, weigh })
}

/// Half registers do for half of the heads, and there are twice as many of them in a cycle.
#[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
fn score(positions: Positions, queries: &[[u32; LANES]], heads: usize, scores: &mut [Lanes]) {
    let mut position = 0;
    while position < positions.count {
        let tile = Tile { positions, position, queries };
        // Sums wait six cycles for the one before them.
        position += match heads {
            ..=8 if positions.count - position > 8 => tile.half::<16>(scores),
            ..=8 => tile.half::<8>(scores),
            _ => tile.whole::<8>(scores),
        };
    }
}

/// Some positions and their scores, in registers.
struct Tile<'a> {
    positions: Positions<'a>,
    position: usize,
    queries: &'a [[u32; LANES]],
}

/// Words that follow each other through one sum before the next one's turn, so that few addresses are in use at a time.
const RUN: usize = 4;

macro_rules! score_tile {
    ($name:ident, $sums:ty, $zero:ident, $load:ident, $all:ident, $dot:ident, $pairs:ty, $store:ident) => {
        /// Returns the number of positions.
        #[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
        fn $name<const POSITIONS: usize>(&self, scores: &mut [Lanes]) -> usize {
            /// The next words of all keys.
            #[inline]
            #[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
            fn add<const POSITIONS: usize, const WORDS: usize>(
                sums: &mut [$sums; POSITIONS],
                keys: &[&[u32]; POSITIONS],
                word: usize,
                queries: &[[u32; LANES]; WORDS],
            ) {
                // SAFETY: a register has at most as many lanes; a key has as many words as there are queries' words; registers are
                // reinterpreted.
                unsafe {
                    let queries: [$pairs; WORDS] = std::array::from_fn(|next| transmute($load(queries[next].as_ptr().cast())));
                    for (sums, key) in sums.iter_mut().zip(keys) {
                        let key = key.as_ptr().add(word);
                        for next in 0..WORDS {
                            let key: $pairs = transmute($all(key.add(next).read().cast_signed()));
                            *sums = $dot(*sums, key, queries[next]);
                        }
                    }
                }
            }

            let keys: [&[u32]; POSITIONS] = std::array::from_fn(|next| self.key(next));
            let mut sums = [$zero(); POSITIONS];
            let (runs, rest) = self.queries.as_chunks::<RUN>();
            for (run, queries) in runs.iter().enumerate() {
                add(&mut sums, &keys, run * RUN, queries);
            }
            for (next, query) in rest.iter().enumerate() {
                add(&mut sums, &keys, runs.len() * RUN + next, &[*query]);
            }
            for (scores, sums) in scores[self.position..].iter_mut().zip(sums) {
                // SAFETY: a register has at most as many lanes.
                unsafe { $store(scores.as_mut_ptr(), sums) }
            }
            POSITIONS
        }
    };
}

impl Tile<'_> {
    fn key(&self, next: usize) -> &[u32] {
        &self.positions.entry(self.position + next)[..self.queries.len()]
    }

    score_tile!(half, __m256, _mm256_setzero_ps, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_dpbf16_ps, __m256bh, _mm256_storeu_ps);
    score_tile!(whole, __m512, _mm512_setzero_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_dpbf16_ps, __m512bh, _mm512_storeu_ps);
}

/// Entries lie apart, so no processor guesses that the next channels are the next to be looked at.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch<T>(next: *const T) {
    _mm_prefetch::<_MM_HINT_T0>(next.cast());
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn weigh(positions: Positions, value: usize, weights: Weights, out: &mut [f32]) {
    for channel in (0..value).step_by(NUMBERS) {
        let mut head = 0;
        while head < weights.heads {
            let block = Block { positions, value, weights, head, channel };
            head += match weights.heads - head {
                8.. => block.weigh::<8>(out),
                4.. => block.weigh::<4>(out),
                2.. => block.weigh::<2>(out),
                _ => block.weigh::<1>(out),
            };
        }
    }
}

/// Some neighbouring heads, and the channels of one register.
struct Block<'a> {
    positions: Positions<'a>,
    value: usize,
    weights: Weights<'a>,
    head: usize,
    channel: usize,
}

impl Block<'_> {
    /// Returns the number of heads.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn weigh<const HEADS: usize>(&self, out: &mut [f32]) -> usize {
        let Block { positions, weights, .. } = self;
        let numbers = positions.pairs.words().as_ptr().cast::<i16>().wrapping_add(self.channel);
        let channels = NUMBERS.min(self.value - self.channel);
        let mask = u32::MAX >> (NUMBERS - channels);
        let mut sums = [[_mm512_setzero_ps(); 2]; HEADS];
        for (places, weights) in positions.starts.chunks_exact(2).zip(weights.words) {
            // SAFETY: the places are those of entries, in which the channels lie; the mask leaves out what follows them; the registers
            // are reinterpreted.
            unsafe {
                let load = |place: usize| _mm512_maskz_loadu_epi16(mask, numbers.add(2 * place));
                let (even, odd) = (load(places[0]), load(places[1]));
                places.iter().for_each(|place| prefetch(numbers.wrapping_add(2 * place + NUMBERS)));
                let low: __m512bh = transmute(_mm512_unpacklo_epi16(even, odd));
                let high: __m512bh = transmute(_mm512_unpackhi_epi16(even, odd));
                for (sums, weight) in sums.iter_mut().zip(weights[self.head..].first_chunk::<HEADS>().unwrap_or(&[0; HEADS])) {
                    let weight: __m512bh = transmute(_mm512_set1_epi32(weight.cast_signed()));
                    sums[0] = _mm512_dpbf16_ps(sums[0], low, weight);
                    sums[1] = _mm512_dpbf16_ps(sums[1], high, weight);
                }
            }
        }
        for (head, sums) in sums.into_iter().enumerate() {
            let out = &mut out[(self.head + head) * self.value + self.channel..][..channels];
            store(sums, out);
        }
        HEADS
    }
}

/// The two registers hold every other four channels each.
#[inline]
#[target_feature(enable = "avx512f")]
fn store([low, high]: [__m512; 2], out: &mut [f32]) {
    let ahead = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    let behind = _mm512_add_epi32(ahead, _mm512_set1_epi32(8));
    let mask = u32::MAX >> (NUMBERS - out.len());
    // SAFETY: the masks leave out what lies beyond `out`.
    unsafe {
        _mm512_mask_storeu_ps(out.as_mut_ptr(), mask as u16, _mm512_permutex2var_ps(low, ahead, high));
        _mm512_mask_storeu_ps(out.as_mut_ptr().wrapping_add(LANES), (mask >> LANES) as u16, _mm512_permutex2var_ps(low, behind, high));
    }
}
