//! Weight matrices in panels of words, as the kernels walk them. Products with them are in `product.rs`.

use std::ops::Range;

use crate::backend::cpu::format::{Format, OFFSET};
use crate::backend::cpu::kernel::{PANEL, Words};
use crate::backend::cpu::vector::Width;

/// `[outputs / PANEL][words][PANEL]`, filled up with zeros. A product walks a panel from end to end.
pub(crate) struct Matrix {
    format: Format,
    outputs: usize,
    inputs: usize,
    panels: Vec<Words>,
    /// What one step of int8 stands for, by output.
    steps: Vec<f32>,
    /// By output what the offset of int8 activations adds to its sums.
    surplus: Vec<i32>,
}

impl Matrix {
    /// From row order, `[outputs, inputs]`.
    pub(super) fn pack(width: Width, format: Format, weights: &[f32], inputs: usize) -> Matrix {
        let (outputs, words) = (weights.len() / inputs, inputs.div_ceil(format.per_word()));
        let panels = outputs.div_ceil(PANEL);
        let mut matrix = Matrix {
            format,
            outputs,
            inputs,
            panels: vec![Words([0; PANEL]); panels * words],
            steps: vec![1.0; panels * PANEL],
            surplus: vec![0; panels * PANEL],
        };
        for (output, row) in weights.chunks_exact(inputs).enumerate() {
            matrix.pack_row(width, output, row);
        }
        matrix
    }

    fn pack_row(&mut self, width: Width, output: usize, row: &[f32]) {
        let (format, words) = (self.format, self.words());
        let step = format.step(width, row);
        self.steps[output] = step;
        let panel = &mut self.panels[output / PANEL * words..][..words];
        let (mut places, mut sum) = (panel.iter_mut(), 0);
        format.encode(width, row, step, 0, |encoded| {
            for (word, place) in encoded.iter().zip(places.by_ref()) {
                place.0[output % PANEL] = *word;
                sum += word.to_le_bytes().map(|byte| i32::from(byte.cast_signed())).iter().sum::<i32>();
            }
        });
        self.surplus[output] = OFFSET.wrapping_mul(sum);
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Multiplications for one row.
    pub(super) fn cost(&self) -> usize {
        self.outputs * self.inputs
    }

    /// Words of a row.
    fn words(&self) -> usize {
        self.inputs.div_ceil(self.format.per_word())
    }

    pub(super) fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    pub(super) fn panel(&self, index: usize) -> &[Words] {
        &self.panels[index * self.words()..][..self.words()]
    }

    /// The outputs of a panel.
    pub(super) fn columns(&self, panel: usize) -> Range<usize> {
        panel * PANEL..self.outputs.min((panel + 1) * PANEL)
    }

    /// What a row's sums with a panel stand for; `step` is the row's.
    #[inline(always)]
    pub(super) fn values<'a>(&'a self, panel: usize, sums: &'a [u32; PANEL], step: f32) -> Values<'a> {
        Values { matrix: self, panel, sums, step }
    }

    /// Reads one row back, for embeddings.
    pub(super) fn copy_row(&self, output: usize, out: &mut [f32]) {
        let (panel, step) = (self.panel(output / PANEL), self.steps[output]);
        for (numbers, words) in out.chunks_mut(self.format.per_word()).zip(panel) {
            for (place, number) in numbers.iter_mut().enumerate() {
                *number = self.format.decode(words.0[output % PANEL], place, step);
            }
        }
    }
}

/// The values of one row in the outputs of a panel.
pub(super) struct Values<'a> {
    matrix: &'a Matrix,
    panel: usize,
    sums: &'a [u32; PANEL],
    step: f32,
}

impl Values<'_> {
    /// Puts each value to its cell; the last panel may have fewer cells.
    #[inline(always)]
    pub(super) fn put(&self, cells: &mut [f32], put: impl Fn(&mut f32, f32)) {
        match cells.as_mut_array::<PANEL>() {
            Some(cells) => self.put_each(cells, put),
            None => self.put_each(cells, put),
        }
    }

    #[inline(always)]
    fn put_each(&self, cells: &mut [f32], put: impl Fn(&mut f32, f32)) {
        let Values { matrix, panel, sums, step } = *self;
        if matrix.format != Format::Int8 {
            return cells.iter_mut().zip(sums).for_each(|(cell, sum)| put(cell, f32::from_bits(*sum)));
        }
        let lanes = panel * PANEL..(panel + 1) * PANEL;
        let each = sums.iter().zip(&matrix.steps[lanes.clone()]).zip(&matrix.surplus[lanes]);
        for (cell, ((sum, output_step), surplus)) in cells.iter_mut().zip(each) {
            put(cell, sum.cast_signed().wrapping_sub(*surplus) as f32 * (output_step * step));
        }
    }
}
