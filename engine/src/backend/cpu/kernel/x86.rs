//! The innermost loop for the vector extensions of x86: AVX2, AVX-512, and the dot products of its later additions.

use std::arch::x86_64::*;

use super::{Dot, Form, Kernel, PANEL, PlainBf16, PlainF32, Sums, Words, spin, tile};
use crate::backend::cpu::format::Format;
use crate::backend::cpu::vector::Width;

/// The kernel of a vector width, if it has one. Machines with AVX-512 but without its dot products take AVX2's.
pub(super) fn kernel(width: Width, format: Format) -> Option<Kernel> {
    if matches!(width, Width::Portable) {
        return None;
    }
    let wide = matches!(width, Width::Avx512);
    Some(match format {
        Format::F32 if wide => avx512_f32::KERNEL,
        Format::Bf16 if wide && multiplies_twice_as_fast_as_it_adds_products() => avx512_bf16_by_f32::KERNEL,
        Format::Bf16 if wide && is_x86_feature_detected!("avx512bf16") => avx512_bf16::KERNEL,
        Format::Int8 if wide && is_x86_feature_detected!("avx512vnni") => avx512_int8::KERNEL,
        Format::F32 => avx2_f32::KERNEL,
        Format::Bf16 => avx2_bf16::KERNEL,
        Format::Int8 => avx2_int8::KERNEL,
    })
}

/// Intel's cores fuse 64 f32 operations a cycle, but manage only half of that with `vdpbf16ps` (measured on Emerald
/// Rapids: 90 GFLOP/s against 190); AMD's do it the other way round. Both ways give the same sums.
fn multiplies_twice_as_fast_as_it_adds_products() -> bool {
    let vendor = __cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// A compilation for each number of rows, so that all sums stay in registers.
macro_rules! compiled {
    ($name:ident, $features:literal, $dot:ident, $format:ident, $($rows:literal)+) => {
        mod $name {
            use super::*;

            pub(super) const KERNEL: Kernel = Kernel { rows_max: ROWS_MAX, run, spin: spin_rows, form: Form { format: Format::$format, parts: $dot::PARTS } };
            const ROWS_MAX: usize = [$($rows),+].len();

            #[target_feature(enable = $features)]
            unsafe fn run(rows: usize, words: &[u32], panel: &[Words], next: *const Words, sums: &mut Sums) {
                // SAFETY: the features that `Dot` needs are enabled here.
                unsafe {
                    match rows {
                        $($rows => tile::<$dot, $rows>(words, panel, next, sums),)+
                        _ => unreachable!("no tile has {rows} rows"),
                    }
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn spin_rows(rounds: usize) {
                // SAFETY: as above.
                unsafe { spin::<$dot, ROWS_MAX>(rounds) }
            }
        }
    };
}

compiled!(avx512_f32, "avx512f", F32, F32, 1 2 3 4 5 6 7 8 9 10 11 12);
compiled!(avx512_bf16, "avx512f,avx512bf16", Bf16, Bf16, 1 2 3 4 5 6 7 8 9 10 11 12);
compiled!(avx512_bf16_by_f32, "avx512f", Bf16ByF32, Bf16, 1 2 3 4 5 6 7 8 9 10 11 12);
compiled!(avx512_int8, "avx512f,avx512vnni", Int8, Int8, 1 2 3 4 5 6 7 8 9 10 11 12);
compiled!(avx2_f32, "avx2", PlainF32, F32, 1 2);
compiled!(avx2_bf16, "avx2", PlainBf16, Bf16, 1 2);
compiled!(avx2_int8, "avx2", NarrowInt8, Int8, 1 2);

/// Both halves of a panel's word, and others on their way.
#[inline(always)]
unsafe fn load(weights: &Words, next: *const Words) -> [__m512i; 2] {
    let first = weights.0.as_ptr();
    // SAFETY: a prefetch may name any address; the loads lie within the lanes.
    unsafe {
        _mm_prefetch::<_MM_HINT_T1>(next.cast());
        _mm_prefetch::<_MM_HINT_T1>(next.wrapping_byte_add(size_of::<Words>() / 2).cast());
        [_mm512_load_si512(first.cast()), _mm512_load_si512(first.add(PANEL / 2).cast())]
    }
}

/// Implements [`Dot`] for 512-bit registers; `$add` adds products of a word in all lanes to one register of sums.
macro_rules! wide_dot {
    ($name:ident, $sum:ty, $add:expr) => {
        struct $name;

        impl Dot for $name {
            type Row = [$sum; 2];
            type Weights = [__m512i; 2];

            #[inline(always)]
            unsafe fn zeros() -> [$sum; 2] {
                // SAFETY: all bits zero are the number zero in every lane.
                unsafe { std::mem::zeroed() }
            }

            #[inline(always)]
            unsafe fn load(weights: &Words, next: *const Words) -> [__m512i; 2] {
                // SAFETY: as the trait says.
                unsafe { load(weights, next) }
            }

            #[inline(always)]
            unsafe fn add(sums: &mut [$sum; 2], word: u32, weights: &[__m512i; 2], _: usize) {
                // SAFETY: as the trait says; the registers are reinterpreted, no bit changes.
                unsafe {
                    let word = _mm512_set1_epi32(word.cast_signed());
                    sums[0] = $add(sums[0], word, weights[0]);
                    sums[1] = $add(sums[1], word, weights[1]);
                }
            }

            #[inline(always)]
            unsafe fn store(sums: [$sum; 2], out: &mut [u32; PANEL]) {
                // SAFETY: the bits are taken as they are.
                *out = unsafe { std::mem::transmute::<[$sum; 2], [u32; PANEL]>(sums) };
            }
        }
    };
}

// No fused multiply-add: f32 is the specification, and the same on every machine.
wide_dot!(F32, __m512, |sum, word, weights| _mm512_add_ps(sum, _mm512_mul_ps(_mm512_castsi512_ps(word), _mm512_castsi512_ps(weights))));
wide_dot!(Bf16, __m512, |sum, word, weights| _mm512_dpbf16_ps(
    sum,
    std::mem::transmute::<__m512i, __m512bh>(word),
    std::mem::transmute::<__m512i, __m512bh>(weights)
));
wide_dot!(Int8, __m512i, |sum, word, weights| _mm512_dpbusd_epi32(sum, word, weights));

/// Bf16 widened to f32: the weights here, the activations beforehand.
struct Bf16ByF32;

impl Dot for Bf16ByF32 {
    type Row = [__m512; 2];
    type Weights = [[__m512; 2]; 2];
    const PARTS: usize = 2;

    #[inline(always)]
    unsafe fn zeros() -> [__m512; 2] {
        // SAFETY: all bits zero are the number zero in every lane.
        unsafe { std::mem::zeroed() }
    }

    #[inline(always)]
    unsafe fn load(weights: &Words, next: *const Words) -> [[__m512; 2]; 2] {
        // SAFETY: as the trait says.
        unsafe {
            let [left, right] = load(weights, next);
            let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
            [
                [_mm512_slli_epi32::<16>(left), _mm512_slli_epi32::<16>(right)].map(|half| _mm512_castsi512_ps(half)),
                [_mm512_and_si512(left, upper), _mm512_and_si512(right, upper)].map(|half| _mm512_castsi512_ps(half)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn add(sums: &mut [__m512; 2], word: u32, weights: &[[__m512; 2]; 2], part: usize) {
        // SAFETY: as the trait says.
        unsafe {
            let word = _mm512_set1_ps(f32::from_bits(word));
            sums[0] = _mm512_fmadd_ps(word, weights[part][0], sums[0]);
            sums[1] = _mm512_fmadd_ps(word, weights[part][1], sums[1]);
        }
    }

    #[inline(always)]
    unsafe fn store(sums: [__m512; 2], out: &mut [u32; PANEL]) {
        // SAFETY: the bits are taken as they are.
        *out = unsafe { std::mem::transmute::<[__m512; 2], [u32; PANEL]>(sums) };
    }
}

/// Int8 in 256-bit registers: even and odd numbers apart, because products of bytes do not fit into 16 bits in pairs.
struct NarrowInt8;

impl Dot for NarrowInt8 {
    type Row = [__m256i; 4];
    type Weights = [__m256i; 4];

    #[inline(always)]
    unsafe fn zeros() -> [__m256i; 4] {
        // SAFETY: all bits zero are the number zero in every lane.
        unsafe { std::mem::zeroed() }
    }

    #[inline(always)]
    unsafe fn load(weights: &Words, _: *const Words) -> [__m256i; 4] {
        // SAFETY: the bits are taken as they are.
        unsafe { std::mem::transmute::<[u32; PANEL], [__m256i; 4]>(weights.0) }
    }

    #[inline(always)]
    unsafe fn add(sums: &mut [__m256i; 4], word: u32, weights: &[__m256i; 4], _: usize) {
        // SAFETY: as the trait says.
        unsafe {
            let even = _mm256_set1_epi32((word & 0x00ff_00ff).cast_signed());
            let odd = _mm256_set1_epi32((word >> 8 & 0x00ff_00ff).cast_signed());
            for (sum, weights) in sums.iter_mut().zip(weights) {
                let evens = _mm256_madd_epi16(even, _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(*weights)));
                let odds = _mm256_madd_epi16(odd, _mm256_srai_epi16::<8>(*weights));
                *sum = _mm256_add_epi32(*sum, _mm256_add_epi32(evens, odds));
            }
        }
    }

    #[inline(always)]
    unsafe fn store(sums: [__m256i; 4], out: &mut [u32; PANEL]) {
        // SAFETY: the bits are taken as they are.
        *out = unsafe { std::mem::transmute::<[__m256i; 4], [u32; PANEL]>(sums) };
    }
}
