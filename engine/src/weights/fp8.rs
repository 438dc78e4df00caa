//! DeepSeek's FP8 weights: one byte a number, and a scale for each block of rows and columns.

use std::array;
use std::sync::LazyLock;

use half::bf16;
use safetensors::Dtype;

/// What each byte stands for.
static VALUES: LazyLock<[f32; 256]> = LazyLock::new(|| array::from_fn(|byte| e4m3(byte as u8)));

/// Reads e4m3fn: a sign, four bits of exponent and three of mantissa; no infinities, and one NaN of each sign.
pub(super) fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (byte >> 3 & 0xf, f32::from(byte & 7));
    let magnitude = match exponent {
        0 => mantissa / 512.0,
        15 if byte & 7 == 7 => f32::NAN,
        _ => (8.0 + mantissa) * 2f32.powi(i32::from(exponent) - 10),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The scales as f32; they come in three formats, one of them a bare exponent.
pub(super) fn scales(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(read(bytes, f32::from_le_bytes)),
        Dtype::BF16 => Some(read(bytes, |two| bf16::from_le_bytes(two).to_f32())),
        Dtype::F8_E8M0 => Some(read(bytes, |[exponent]| 2f64.powi(i32::from(exponent) - 127) as f32)),
        _ => None,
    }
}

fn read<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|number| value(*number)).collect()
}

/// A matrix whose blocks have a scale each; the last blocks of a row or column may be cut off.
pub(super) struct Blocks<'a> {
    bytes: &'a [u8],
    columns: usize,
    block: [usize; 2],
    scales: Vec<f32>,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(bytes: &'a [u8], columns: usize, block: [usize; 2], scales: Vec<f32>) -> Blocks<'a> {
        Blocks { bytes, columns, block, scales }
    }

    /// Writes one row, every number times the scale of its block.
    pub(super) fn row(&self, index: usize, out: &mut [f32]) {
        let values = &*VALUES;
        let bytes = &self.bytes[index * self.columns..][..self.columns];
        let block_columns = self.columns.div_ceil(self.block[1]);
        let scales = &self.scales[index / self.block[0] * block_columns..][..block_columns];
        let blocks = bytes.chunks(self.block[1]).zip(out.chunks_mut(self.block[1])).zip(scales);
        for ((bytes, out), scale) in blocks {
            for (byte, out) in bytes.iter().zip(out) {
                *out = values[usize::from(*byte)] * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corners_of_e4m3_are_those_of_the_format() {
        let corners = [(0x00, 0.0), (0x01, 0.001_953_125), (0x08, 0.015_625), (0x38, 1.0), (0x7e, 448.0), (0xfe, -448.0)];
        for (byte, value) in corners {
            assert_eq!(e4m3(byte), value, "{byte:#x}");
        }
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan());
    }

    #[test]
    fn blocks_that_are_cut_off_have_a_scale_of_their_own() {
        // Three rows and three columns of ones, in blocks of two.
        let blocks = Blocks::new(&[0x38; 9], 3, [2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let mut numbers = [[0.0; 3]; 3];
        numbers.iter_mut().enumerate().for_each(|(index, row)| blocks.row(index, row));
        assert_eq!(numbers, [[1.0, 1.0, 2.0], [1.0, 1.0, 2.0], [3.0, 3.0, 4.0]]);
    }

    #[test]
    fn scales_come_in_three_formats() {
        let one_and_a_half = [0x00, 0x00, 0xc0, 0x3f];
        assert_eq!(scales(&one_and_a_half, Dtype::F32), Some(vec![1.5]));
        assert_eq!(scales(&one_and_a_half[2..], Dtype::BF16), Some(vec![1.5]));
        assert_eq!(scales(&[126, 127, 130], Dtype::F8_E8M0), Some(vec![0.5, 1.0, 8.0]));
        assert_eq!(scales(&one_and_a_half, Dtype::I32), None);
    }
}
