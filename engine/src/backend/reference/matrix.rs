//! Weight matrices in panels, and the product with rows of activations.

use crate::backend::reference::vector::{Width, for_every_width};

/// Output channels side by side in a panel.
pub(super) const LANES: usize = 32;

/// `[outputs / LANES][inputs][LANES]`, the last panel filled up with zeros. A product walks a panel from end to end.
pub(crate) struct Matrix {
    outputs: usize,
    inputs: usize,
    panels: Vec<f32>,
}

/// Some neighbouring panels of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    outputs: usize,
    inputs: usize,
    panels: &'a [f32],
}

/// Rows that lie `stride` numbers apart.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    pub(super) rows: usize,
    pub(super) stride: usize,
    pub(super) data: &'a [f32],
}

impl<'a> Strided<'a> {
    /// Rows that touch.
    pub(super) fn packed(data: &'a [f32], width: usize) -> Strided<'a> {
        Strided { rows: data.len() / width, stride: width, data }
    }

    /// The same rows without their first numbers.
    pub(super) fn skip(self, numbers: usize) -> Strided<'a> {
        Strided { data: &self.data[numbers..], ..self }
    }
}

impl Matrix {
    /// From row order, `[outputs, inputs]`.
    pub(super) fn pack(weights: &[f32], inputs: usize) -> Matrix {
        let outputs = weights.len() / inputs;
        let mut panels = vec![0.0; outputs.div_ceil(LANES) * LANES * inputs];
        for (output, row) in weights.chunks_exact(inputs).enumerate() {
            let panel = &mut panels[output / LANES * LANES * inputs..][..LANES * inputs];
            for (input, weight) in row.iter().enumerate() {
                panel[input * LANES + output % LANES] = *weight;
            }
        }
        Matrix { outputs, inputs, panels }
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Multiplications for one row.
    pub(super) fn cost(&self) -> usize {
        self.outputs * self.inputs
    }

    /// The panels that hold `count` output channels from `first` on; `first` starts a panel.
    pub(super) fn columns(&self, first: usize, count: usize) -> Columns<'_> {
        let panels = first / LANES..(first + count).div_ceil(LANES);
        let panel = LANES * self.inputs;
        Columns { outputs: count, inputs: self.inputs, panels: &self.panels[panels.start * panel..panels.end * panel] }
    }

    pub(super) fn all(&self) -> Columns<'_> {
        self.columns(0, self.outputs)
    }

    /// Reads one row back, for embeddings.
    pub(super) fn copy_row(&self, output: usize, out: &mut [f32]) {
        let panel = &self.panels[output / LANES * LANES * self.inputs..];
        for (input, out) in out.iter_mut().enumerate() {
            *out = panel[input * LANES + output % LANES];
        }
    }
}

for_every_width! {
    /// `out += x W^T`. Every output is the plain sum over its inputs in their order, so neither the number of rows nor
    /// the way they are tiled shows in the result.
    fn multiply_add(x: Strided, columns: Columns, out: &mut [f32], out_stride: usize) =
        multiply_add_body::<1>, multiply_add_body::<2>, multiply_add_body::<8>
}

#[inline(always)]
fn multiply_add_body<const TILE: usize>(x: Strided, columns: Columns, out: &mut [f32], out_stride: usize) {
    let tiled = x.rows - x.rows % TILE;
    for (index, panel) in columns.panels.chunks_exact(LANES * columns.inputs).enumerate() {
        let first = index * LANES;
        let lanes = LANES.min(columns.outputs - first);
        for row in (0..tiled).step_by(TILE) {
            let sums = tile::<TILE>(x, row, panel);
            add(&sums, lanes, &mut out[row * out_stride + first..], out_stride);
        }
        for row in tiled..x.rows {
            let sums = tile::<1>(x, row, panel);
            add(&sums, lanes, &mut out[row * out_stride + first..], out_stride);
        }
    }
}

/// The products of some rows with one panel, in registers.
#[inline(always)]
fn tile<const TILE: usize>(x: Strided, first_row: usize, panel: &[f32]) -> [[f32; LANES]; TILE] {
    let (panel, _) = panel.as_chunks::<LANES>();
    let rows: [&[f32]; TILE] = std::array::from_fn(|row| &x.data[(first_row + row) * x.stride..][..panel.len()]);
    let mut sums = [[0.0; LANES]; TILE];
    for (input, weights) in panel.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let x = row[input];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += x * weight;
            }
        }
    }
    sums
}

#[inline(always)]
fn add(sums: &[[f32; LANES]], lanes: usize, out: &mut [f32], out_stride: usize) {
    for (row, sums) in sums.iter().enumerate() {
        for (out, sum) in out[row * out_stride..][..lanes].iter_mut().zip(sums) {
            *out += sum;
        }
    }
}
