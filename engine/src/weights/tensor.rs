//! One tensor, where it lies: its numbers are read as f32, a row at a time, on whichever thread wants them.

use half::{bf16, f16};

use crate::weights::fp8;

/// Numbers in rows that are as long as the last dimension.
pub(crate) struct Tensor<'a> {
    rows: usize,
    columns: usize,
    numbers: Numbers<'a>,
}

/// In which format they are stored.
pub(super) enum Numbers<'a> {
    F32(&'a [u8]),
    Bf16(&'a [u8]),
    F16(&'a [u8]),
    Fp8(fp8::Blocks<'a>),
    /// Not stored, but made up.
    Random(Vec<f32>),
}

impl<'a> Tensor<'a> {
    pub(super) fn new(shape: &[usize], numbers: Numbers<'a>) -> Tensor<'a> {
        let (columns, rows) = shape.split_last().map_or((0, 0), |(columns, rows)| (*columns, rows.iter().product()));
        Tensor { rows, columns, numbers }
    }

    /// Writes one row.
    pub(crate) fn row(&self, index: usize, out: &mut [f32]) {
        let first = index * self.columns;
        match &self.numbers {
            Numbers::F32(bytes) => read(bytes, first, out, f32::from_le_bytes),
            Numbers::Bf16(bytes) => read(bytes, first, out, |two| bf16::from_le_bytes(two).to_f32()),
            Numbers::F16(bytes) => read(bytes, first, out, |two| f16::from_le_bytes(two).to_f32()),
            Numbers::Fp8(blocks) => blocks.row(index, out),
            Numbers::Random(numbers) => out.copy_from_slice(&numbers[first..][..self.columns]),
        }
    }

    /// All rows, one after another.
    pub(crate) fn rows(&self) -> Vec<f32> {
        let mut rows = vec![0.0; self.rows * self.columns];
        rows.chunks_mut(self.columns.max(1)).enumerate().for_each(|(index, row)| self.row(index, row));
        rows
    }
}

fn read<const N: usize>(bytes: &[u8], first: usize, out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    let (numbers, _) = bytes[first * N..][..out.len() * N].as_chunks::<N>();
    for (out, number) in out.iter_mut().zip(numbers) {
        *out = value(*number);
    }
}
