//! Weight matrices in panels, and the product with rows of activations.

use crate::backend::cpu::vector::{Width, for_every_width};

/// Output channels side by side in a panel.
pub(super) const LANES: usize = 16;

/// Panels that a single row takes at once.
const PANELS: usize = 4;

/// One number for each channel of a panel, or for each of as many heads.
pub(super) type Lanes = [f32; LANES];

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
    pub(super) count: usize,
    pub(super) stride: usize,
    pub(super) data: &'a [f32],
}

impl<'a> Strided<'a> {
    /// Rows that touch.
    pub(super) fn packed(data: &'a [f32], width: usize) -> Strided<'a> {
        Strided { count: data.len() / width, stride: width, data }
    }

    /// Some neighbouring rows, and what follows them.
    #[inline(always)]
    pub(super) fn rows<const N: usize>(&self, first: usize) -> [&'a [f32]; N] {
        std::array::from_fn(
            #[inline(always)]
            |row| &self.data[(first + row) * self.stride..],
        )
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
        multiply_add_body::<1>, multiply_add_body::<2>, multiply_add_body::<4>
}

#[inline(always)]
fn multiply_add_body<const TILE: usize>(x: Strided, columns: Columns, out: &mut [f32], out_stride: usize) {
    let tiled = x.count - x.count % TILE;
    let (weights, _) = columns.panels.as_chunks::<LANES>();
    for (index, panel) in weights.chunks_exact(columns.inputs).enumerate() {
        for row in (0..tiled).step_by(TILE) {
            let sums = tile([[0.0; LANES]; TILE], x.rows(row), panel.iter());
            add(&sums, columns.outputs - index * LANES, &mut out[row * out_stride + index * LANES..], out_stride);
        }
    }
    for row in tiled..x.count {
        let [x] = x.rows(row);
        let out = &mut out[row * out_stride..];
        for (index, panels) in weights.chunks(PANELS * columns.inputs).enumerate() {
            let first = index * PANELS * LANES;
            multiply_add_row(x, panels, columns.inputs, &mut out[first..columns.outputs.min(first + PANELS * LANES)]);
        }
    }
}

/// Adds the products of some rows with one panel to sums in registers.
#[inline(always)]
pub(super) fn tile<'a, const TILE: usize, const WIDTH: usize>(
    mut sums: [[f32; WIDTH]; TILE],
    rows: [&[f32]; TILE],
    panel: impl ExactSizeIterator<Item = &'a [f32; WIDTH]>,
) -> [[f32; WIDTH]; TILE] {
    let inputs = panel.len();
    let rows = rows.map(|row| &row[..inputs]);
    for (input, weights) in panel.enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let x = row[input];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += x * weight;
            }
        }
    }
    sums
}

/// One row with several panels at once, so that no sum waits for the one before.
#[inline(always)]
fn multiply_add_row(x: &[f32], panels: &[Lanes], inputs: usize, out: &mut [f32]) {
    if panels.len() < PANELS * inputs {
        for (panel, out) in panels.chunks_exact(inputs).zip(out.chunks_mut(LANES)) {
            let sums = tile([[0.0; LANES]], [x], panel.iter());
            add(&sums, out.len(), out, LANES);
        }
        return;
    }
    let x = &x[..inputs];
    let panels: [&[Lanes]; PANELS] = std::array::from_fn(|index| &panels[index * inputs..][..inputs]);
    let mut sums = [[0.0; LANES]; PANELS];
    for (input, x) in x.iter().enumerate() {
        for (sums, panel) in sums.iter_mut().zip(&panels) {
            for (sum, weight) in sums.iter_mut().zip(&panel[input]) {
                *sum += x * weight;
            }
        }
    }
    for (sums, out) in sums.iter().zip(out.chunks_mut(LANES)) {
        add(&[*sums], out.len(), out, LANES);
    }
}

/// Adds sums to their places; the last panel has fewer outputs than lanes.
#[inline(always)]
fn add(sums: &[Lanes], outputs: usize, out: &mut [f32], out_stride: usize) {
    for (row, sums) in sums.iter().enumerate() {
        for (out, sum) in out[row * out_stride..][..outputs.min(LANES)].iter_mut().zip(sums) {
            *out += sum;
        }
    }
}
