//! The innermost loop: some rows times one panel of weights, summed in registers. Each output is one sum over the words
//! of its row in their order, so the number of rows that are computed together shows in no result.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::backend::cpu::format::Format;
use crate::backend::cpu::vector::Width;

/// Output channels side by side in a panel.
pub(super) const PANEL: usize = 32;

/// Rows that the largest register file holds sums for.
pub(super) const ROWS_MAX: usize = 12;

/// One word of each output of a panel; it fills two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Words(pub(super) [u32; PANEL]);

/// For each row its sums: the bits of an f32, or an i32 for int8.
pub(super) type Sums = [[u32; PANEL]; ROWS_MAX];

/// A compilation of the loop for one format.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// Rows in a tile, at most [`ROWS_MAX`].
    pub(super) rows_max: usize,
    run: Run,
}

/// Rows, their words `[words][rows]`, the panel, and where the sums go.
type Run = unsafe fn(usize, &[u32], &[Words], &mut Sums);

impl Kernel {
    /// The fastest that this width allows; all of them give the same sums.
    pub(super) fn of(width: Width, format: Format) -> Kernel {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = x86::kernel(width, format) {
            return kernel;
        }
        let _ = width;
        let run: Run = match format {
            Format::F32 => run::<PlainF32>,
            Format::Bf16 => run::<PlainBf16>,
            Format::Int8 => run::<PlainInt8>,
        };
        Kernel { rows_max: 1, run }
    }

    /// The sums of some rows, whose words lie side by side, with a panel.
    pub(super) fn sum(self, rows: usize, words: &[u32], panel: &[Words], sums: &mut Sums) {
        assert!(rows <= self.rows_max && words.len() == rows * panel.len(), "a tile of {rows} rows");
        // SAFETY: `of` has seen the features that this compilation needs.
        unsafe { (self.run)(rows, words, panel, sums) }
    }
}

/// How one machine multiplies words. The functions may only be called where the machine's features are enabled.
trait Dot {
    /// The sums of one row with the outputs of a panel.
    type Row: Copy;
    /// A word of each output.
    type Weights;

    unsafe fn zeros() -> Self::Row;
    unsafe fn load(weights: &Words) -> Self::Weights;
    /// Adds the products of the row's next word.
    unsafe fn add(sums: &mut Self::Row, word: u32, weights: &Self::Weights);
    unsafe fn store(sums: Self::Row, out: &mut [u32; PANEL]);
}

#[inline(always)]
unsafe fn tile<D: Dot, const ROWS: usize>(words: &[u32], panel: &[Words], sums: &mut Sums) {
    let (words, _) = words.as_chunks::<ROWS>();
    // SAFETY: the caller enables what `D` needs.
    unsafe {
        let mut rows = [D::zeros(); ROWS];
        for (words, weights) in words.iter().zip(panel) {
            let weights = D::load(weights);
            for row in 0..ROWS {
                D::add(&mut rows[row], words[row], &weights);
            }
        }
        for row in 0..ROWS {
            D::store(rows[row], &mut sums[row]);
        }
    }
}

/// One row at a time, as far as any machine can be trusted.
unsafe fn run<D: Dot>(_: usize, words: &[u32], panel: &[Words], sums: &mut Sums) {
    // SAFETY: `D` is plain arithmetic.
    unsafe { tile::<D, 1>(words, panel, sums) }
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
    unsafe fn load(weights: &Words) -> [f32; PANEL] {
        weights.0.map(f32::from_bits)
    }

    #[inline(always)]
    unsafe fn add(sums: &mut [f32; PANEL], word: u32, weights: &[f32; PANEL]) {
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
    unsafe fn load(weights: &Words) -> [u32; PANEL] {
        weights.0
    }

    #[inline(always)]
    unsafe fn add(sums: &mut [f32; PANEL], word: u32, weights: &[u32; PANEL]) {
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
    unsafe fn load(weights: &Words) -> [u32; PANEL] {
        weights.0
    }

    #[inline(always)]
    unsafe fn add(sums: &mut [i32; PANEL], word: u32, weights: &[u32; PANEL]) {
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
