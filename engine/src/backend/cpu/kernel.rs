//! The innermost loop: some rows times one panel of weights, summed in registers. Each output is one sum over the words
//! of its row in their order, so the number of rows that are computed together shows in no result.

#[cfg(target_arch = "x86_64")]
mod x86;

use std::hint::black_box;
use std::ptr;

use crate::backend::cpu::format::Format;
use crate::backend::cpu::vector::Width;

/// Output channels side by side in a panel.
pub(super) const PANEL: usize = 32;

/// Rows that the largest register file holds sums for.
pub(super) const ROWS_MAX: usize = 12;

/// One word of each output of a panel; it fills two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Words(pub(super) [u32; PANEL]);

/// For each row its sums: the bits of an f32, or an i32 for int8.
pub(super) type Sums = [[u32; PANEL]; ROWS_MAX];

/// A compilation of the loop for one format.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// Rows in a tile, at most [`ROWS_MAX`].
    pub(super) rows_max: usize,
    run: Run,
    spin: unsafe fn(usize),
    pub(super) form: Form,
}

/// What a kernel takes activations as.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// That of the weights.
    pub(super) format: Format,
    /// Into how many words the numbers of a word are spread: 2 for bf16 that is multiplied as f32.
    pub(super) parts: usize,
}

impl Form {
    /// Words of a row of activations.
    pub(super) fn words(self, inputs: usize) -> usize {
        inputs.div_ceil(self.format.per_word()) * self.parts
    }
}

/// The loop over words: rows, their words `[words][rows]`, the panel, the next one, and where the sums go.
type Run = unsafe fn(usize, &[u32], &[Words], *const Words, &mut Sums);

impl Kernel {
    /// The fastest that this width allows; all of them give the same sums.
    pub(super) fn of(width: Width, format: Format) -> Kernel {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = x86::kernel(width, format) {
            return kernel;
        }
        let _ = width;
        let form = Form { format, parts: 1 };
        match format {
            Format::F32 => Kernel { rows_max: 1, run: run::<PlainF32>, spin: spin::<PlainF32, 1>, form },
            Format::Bf16 => Kernel { rows_max: 1, run: run::<PlainBf16>, spin: spin::<PlainBf16, 1>, form },
            Format::Int8 => Kernel { rows_max: 1, run: run::<PlainInt8>, spin: spin::<PlainInt8, 1>, form },
        }
    }

    /// The sums of some rows, whose words lie side by side, with a panel. Meanwhile as much from `next` on is brought near.
    pub(super) fn sum(self, rows: usize, words: &[u32], panel: &[Words], next: *const Words, sums: &mut Sums) {
        assert!(rows <= self.rows_max && words.len() == rows * panel.len() * self.form.parts, "a tile of {rows} rows");
        // SAFETY: `of` has seen the features that this compilation needs.
        unsafe { (self.run)(rows, words, panel, next, sums) }
    }

    /// Multiplies what registers hold, over and over, for the benchmarks: returns the operations.
    pub(super) fn spin(self, rounds: usize) -> usize {
        // SAFETY: as above.
        unsafe { (self.spin)(rounds) }
        2 * rounds * self.rows_max * PANEL * self.form.format.per_word()
    }
}

/// How one machine multiplies words. The functions may only be called where the machine's features are enabled.
trait Dot {
    /// The sums of one row with the outputs of a panel.
    type Row: Copy;
    /// A word of each output.
    type Weights;
    /// Into how many words the activations for a word of weights are spread.
    const PARTS: usize = 1;

    unsafe fn zeros() -> Self::Row;
    /// Brings what is at `next` near; any address will do.
    unsafe fn load(weights: &Words, next: *const Words) -> Self::Weights;
    /// Adds the products of a row's word with a part of the weights.
    unsafe fn add(sums: &mut Self::Row, word: u32, weights: &Self::Weights, part: usize);
    unsafe fn store(sums: Self::Row, out: &mut [u32; PANEL]);
}

#[inline(always)]
unsafe fn tile<D: Dot, const ROWS: usize>(words: &[u32], panel: &[Words], mut next: *const Words, sums: &mut Sums) {
    // SAFETY: the caller enables what `D` needs.
    unsafe {
        let mut rows = [D::zeros(); ROWS];
        for (words, weights) in words.chunks_exact(ROWS * D::PARTS).zip(panel) {
            let weights = D::load(weights, next);
            next = next.wrapping_add(1);
            // The last part first, as `vdpbf16ps` does it.
            for part in (0..D::PARTS).rev() {
                for row in 0..ROWS {
                    D::add(&mut rows[row], words[part * ROWS + row], &weights, part);
                }
            }
        }
        for row in 0..ROWS {
            D::store(rows[row], &mut sums[row]);
        }
    }
}

/// The same loop without loads.
#[inline(always)]
unsafe fn spin<D: Dot, const ROWS: usize>(rounds: usize) {
    // SAFETY: the caller enables what `D` needs.
    unsafe {
        let (mut rows, word, weights) = ([D::zeros(); ROWS], black_box(0x0101_0101), D::load(&Words([0x0101_0101; PANEL]), ptr::null()));
        for _ in 0..rounds {
            for part in 0..D::PARTS {
                for row in &mut rows {
                    D::add(row, word, &weights, part);
                }
            }
        }
        black_box(rows);
    }
}

/// One row at a time, as far as any machine can be trusted.
unsafe fn run<D: Dot>(_: usize, words: &[u32], panel: &[Words], next: *const Words, sums: &mut Sums) {
    // SAFETY: `D` is plain arithmetic.
    unsafe { tile::<D, 1>(words, panel, next, sums) }
}

struct PlainF32;

impl Dot for PlainF32 {
    type Row = [f32; PANEL];
    type Weights = [f32; PANEL];

    #[inline(always)]
    unsafe fn zeros() -> [f32; PANEL] {
        [0.0; PANEL]
    }

    #[inline(always)]
    unsafe fn load(weights: &Words, _: *const Words) -> [f32; PANEL] {
        weights.0.map(f32::from_bits)
    }

    #[inline(always)]
    unsafe fn add(sums: &mut [f32; PANEL], word: u32, weights: &[f32; PANEL], _: usize) {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += f32::from_bits(word) * weight;
        }
    }

    #[inline(always)]
    unsafe fn store(sums: [f32; PANEL], out: &mut [u32; PANEL]) {
        *out = sums.map(f32::to_bits);
    }
}

/// The second product of a word before the first, as `vdpbf16ps` does it. A product of two bf16 is exact in f32, so it
/// makes no difference whether multiplication and addition are fused.
struct PlainBf16;

impl Dot for PlainBf16 {
    type Row = [f32; PANEL];
    type Weights = [u32; PANEL];

    #[inline(always)]
    unsafe fn zeros() -> [f32; PANEL] {
        [0.0; PANEL]
    }

    #[inline(always)]
    unsafe fn load(weights: &Words, _: *const Words) -> [u32; PANEL] {
        weights.0
    }

    #[inline(always)]
    unsafe fn add(sums: &mut [f32; PANEL], word: u32, weights: &[u32; PANEL], _: usize) {
        let (first, second) = halves(word);
        for (sum, weights) in sums.iter_mut().zip(weights) {
            let weights = halves(*weights);
            *sum += second * weights.1;
            *sum += first * weights.0;
        }
    }

    #[inline(always)]
    unsafe fn store(sums: [f32; PANEL], out: &mut [u32; PANEL]) {
        *out = sums.map(f32::to_bits);
    }
}

#[inline(always)]
fn halves(word: u32) -> (f32, f32) {
    (f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000))
}

/// Unsigned activations times signed weights, exactly.
struct PlainInt8;

impl Dot for PlainInt8 {
    type Row = [i32; PANEL];
    type Weights = [u32; PANEL];

    #[inline(always)]
    unsafe fn zeros() -> [i32; PANEL] {
        [0; PANEL]
    }

    #[inline(always)]
    unsafe fn load(weights: &Words, _: *const Words) -> [u32; PANEL] {
        weights.0
    }

    #[inline(always)]
    unsafe fn add(sums: &mut [i32; PANEL], word: u32, weights: &[u32; PANEL], _: usize) {
        let x = word.to_le_bytes().map(i32::from);
        for (sum, weights) in sums.iter_mut().zip(weights) {
            let w = weights.to_le_bytes().map(|byte| i32::from(byte.cast_signed()));
            *sum = sum.wrapping_add(x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3]);
        }
    }

    #[inline(always)]
    unsafe fn store(sums: [i32; PANEL], out: &mut [u32; PANEL]) {
        *out = sums.map(i32::cast_unsigned);
    }
}
