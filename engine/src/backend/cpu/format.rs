//! Number formats of weights and activations: how f32 becomes 32-bit words, the unit in which kernels multiply.

use crate::backend::cpu::vector::{Width, for_every_width};

/// What weights are stored and activations are multiplied in. Between operations activations are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One number a word: the specification.
    F32,
    /// Two numbers a word, the first in the low half.
    Bf16,
    /// Four numbers a word, each a whole number of steps; a step is 1/127 of the largest number in the row.
    Int8,
}

/// Numbers that are converted together.
const CHUNK: usize = 64;

/// What int8 activations are stored with, because the kernels multiply unsigned by signed.
pub(super) const OFFSET: i32 = 128;

/// Adding it to a small number leaves the nearest whole one, ties to even, in the low bits.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::Bf16 => "bf16",
            Format::Int8 => "int8",
        }
    }

    /// The format of this name.
    pub(crate) fn of_name(name: &str) -> Option<Format> {
        [Format::F32, Format::Bf16, Format::Int8].into_iter().find(|format| format.name() == name)
    }

    /// Numbers in a word.
    pub(super) const fn per_word(self) -> usize {
        match self {
            Format::F32 => 1,
            Format::Bf16 => 2,
            Format::Int8 => 4,
        }
    }

    /// Bits of a number.
    pub(crate) const fn bits(self) -> u64 {
        32 / self.per_word() as u64
    }

    /// The step of a row of numbers: 1 but for int8.
    pub(super) fn step(self, width: Width, row: &[f32]) -> f32 {
        let mut largest = 127.0;
        if self == Format::Int8 {
            largest_magnitude(width, row, &mut largest);
        }
        largest / 127.0
    }

    /// Converts numbers, `offset` added to int8, and hands their words out in pieces; in the last, zeros follow.
    #[inline(always)]
    pub(super) fn encode(self, width: Width, numbers: &[f32], step: f32, offset: i32, mut put: impl FnMut(&[u32])) {
        let mut words = [0; CHUNK];
        let words_per_chunk = CHUNK / self.per_word();
        let (chunks, rest) = numbers.as_chunks::<CHUNK>();
        for chunk in chunks {
            self.encode_chunk(width, chunk, step, offset, &mut words);
            put(&words[..words_per_chunk]);
        }
        if !rest.is_empty() {
            let mut padded = [0.0; CHUNK];
            padded[..rest.len()].copy_from_slice(rest);
            self.encode_chunk(width, &padded, step, offset, &mut words);
            put(&words[..rest.len().div_ceil(self.per_word())]);
        }
    }

    fn encode_chunk(self, width: Width, numbers: &[f32; CHUNK], step: f32, offset: i32, words: &mut [u32; CHUNK]) {
        match self {
            Format::F32 => *words = numbers.map(f32::to_bits),
            Format::Bf16 => encode_bf16(width, numbers, words),
            Format::Int8 => encode_int8(width, numbers, step, offset, words),
        }
    }

    /// The number at `place` of a word without offset.
    pub(super) fn decode(self, word: u32, place: usize, step: f32) -> f32 {
        match self {
            Format::F32 => f32::from_bits(word),
            Format::Bf16 => f32::from_bits(word >> (16 * place) << 16),
            Format::Int8 => f32::from(word.to_le_bytes()[place].cast_signed()) * step,
        }
    }
}

for_every_width! {
    /// Infinite if a number is, and not a number where the last is none.
    fn largest_magnitude(row: &[f32], largest: &mut f32) = largest_magnitude_body
}

#[inline(always)]
fn largest_magnitude_body(row: &[f32], largest: &mut f32) {
    let mut lanes = [0.0f32; 16];
    for chunk in row.chunks(16) {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            *lane = if number.abs() <= *lane { *lane } else { number.abs() };
        }
    }
    *largest = lanes.into_iter().fold(0.0, |largest, lane| if lane <= largest { largest } else { lane });
}

/// With the instruction for it where there is one.
fn encode_bf16(width: Width, numbers: &[f32; CHUNK], words: &mut [u32; CHUNK]) {
    #[cfg(target_arch = "x86_64")]
    if matches!(width, Width::Avx512) && is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the feature is there.
        return unsafe { encode_bf16_at_once(numbers, words) };
    }
    encode_bf16_by_parts(width, numbers, words);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn encode_bf16_at_once(numbers: &[f32; CHUNK], words: &mut [u32; CHUNK]) {
    use std::arch::x86_64::{__m512i, _mm512_cvtne2ps_pbh, _mm512_loadu_ps, _mm512_storeu_si512};

    for (numbers, words) in numbers.as_chunks::<32>().0.iter().zip(words.as_chunks_mut::<16>().0) {
        // SAFETY: both registers lie in the numbers, and their words in as many places; the register is reinterpreted.
        unsafe {
            let (first, second) = (_mm512_loadu_ps(numbers.as_ptr()), _mm512_loadu_ps(numbers.as_ptr().add(16)));
            let rounded: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(second, first));
            _mm512_storeu_si512(words.as_mut_ptr().cast(), rounded);
        }
    }
}

for_every_width! {
    fn encode_bf16_by_parts(numbers: &[f32; CHUNK], words: &mut [u32; CHUNK]) = encode_bf16_body
}

#[inline(always)]
fn encode_bf16_body(numbers: &[f32; CHUNK], words: &mut [u32; CHUNK]) {
    let mut rounded = [0; CHUNK];
    for (rounded, number) in rounded.iter_mut().zip(numbers) {
        *rounded = to_bf16(*number);
    }
    for index in 0..CHUNK / 2 {
        words[index] = rounded[2 * index] >> 16 | rounded[2 * index + 1] & 0xffff_0000;
    }
}

/// To the nearest bf16, ties to even, in the upper half. As in the processor's own conversion, numbers too small for a full mantissa are zero.
#[inline(always)]
pub(super) fn to_bf16(number: f32) -> u32 {
    let bits = number.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let tiny = number.abs() < f32::MIN_POSITIVE;
    if number.is_nan() {
        bits | 0x0040_0000
    } else if tiny {
        bits & 0x8000_0000
    } else {
        rounded
    }
}

for_every_width! {
    fn encode_int8(numbers: &[f32; CHUNK], step: f32, offset: i32, words: &mut [u32; CHUNK]) = encode_int8_body
}

#[inline(always)]
fn encode_int8_body(numbers: &[f32; CHUNK], step: f32, offset: i32, words: &mut [u32; CHUNK]) {
    // A row whose largest number has no inverse is as good as zero.
    let inverse = if step > 1e-37 { 1.0 / step } else { 0.0 };
    let shift = ROUND + offset as f32;
    let mut bytes = [0; CHUNK];
    for (byte, number) in bytes.iter_mut().zip(numbers) {
        *byte = (number * inverse + shift).to_bits() as u8;
    }
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_the_nearest_at_every_width_and_tiny_numbers_are_zero() {
        let mut bits = 1u32;
        for _ in 0..2000 {
            let numbers = std::array::from_fn(|_| {
                bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f32::from_bits(bits ^ bits >> 15)
            });
            let (mut here, mut plain) = ([0; CHUNK], [0; CHUNK]);
            encode_bf16(Width::detect(), &numbers, &mut here);
            encode_bf16(Width::Portable, &numbers, &mut plain);
            assert_eq!(here, plain);
            for (index, number) in numbers.iter().enumerate().filter(|(_, number)| number.is_normal()) {
                let rounded = Format::Bf16.decode(plain[index / 2], index % 2, 1.0);
                assert!((rounded / number - 1.0).abs() <= 1.0 / 256.0 || rounded.is_infinite(), "{number:e} to {rounded:e}");
            }
        }
    }
}
