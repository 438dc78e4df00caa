//! Weight matrices in panels of words, as the kernels walk them. Products with them are in `product.rs`.

use std::ops::Range;

use crate::backend::cpu::format::Format;
use crate::backend::cpu::kernel::{PANEL, Words};
use crate::backend::cpu::slab::Slab;
use crate::backend::cpu::sums;
use crate::backend::cpu::vector::Width;

/// An `[outputs, inputs]` matrix. A product walks a panel from end to end.
pub(crate) struct Matrix {
    layout: Layout,
    words: Slab,
}

/// Where the words of a matrix are: `[outputs / PANEL][words of a row][PANEL]`, the last panel filled up with zeros. In int8 each
/// panel is followed by what one step of each of its outputs stands for, and by what the offset of activations adds to its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) format: Format,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
}

impl Layout {
    /// Words of a row.
    pub(super) fn words(self) -> usize {
        self.inputs.div_ceil(self.format.per_word())
    }

    pub(super) fn panels(self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    /// Words of each output from one panel to the next.
    pub(super) fn stride(self) -> usize {
        self.words() + if self.format == Format::Int8 { 2 } else { 0 }
    }
}

impl Matrix {
    pub(super) fn new(layout: Layout, words: Slab) -> Matrix {
        Matrix { layout, words }
    }

    pub(super) fn format(&self) -> Format {
        self.layout.format
    }

    pub(super) fn outputs(&self) -> usize {
        self.layout.outputs
    }

    pub(super) fn inputs(&self) -> usize {
        self.layout.inputs
    }

    /// Multiplications for one row.
    pub(super) fn cost(&self) -> usize {
        self.outputs() * self.inputs()
    }

    pub(super) fn panels(&self) -> usize {
        self.layout.panels()
    }

    pub(super) fn panel(&self, index: usize) -> &[Words] {
        &self.words[index * self.layout.stride()..][..self.layout.words()]
    }

    /// What follows a panel of int8: the bits of its outputs' steps, and what is too much in their sums.
    fn steps_and_surplus(&self, panel: usize) -> (&Words, &Words) {
        let first = panel * self.layout.stride() + self.layout.words();
        (&self.words[first], &self.words[first + 1])
    }

    /// The outputs of a panel.
    pub(super) fn columns(&self, panel: usize) -> Range<usize> {
        panel * PANEL..self.outputs().min((panel + 1) * PANEL)
    }

    /// What a row's sums with a panel stand for, in bits of f32; `step` is the row's.
    pub(super) fn finish(&self, width: Width, panel: usize, sums: &mut [u32; PANEL], step: f32) {
        if self.format() == Format::Int8 {
            let (output_steps, surplus) = self.steps_and_surplus(panel);
            sums::scale(width, sums, &surplus.0, &output_steps.0, step);
        }
    }

    /// Reads one row back, for embeddings.
    pub(super) fn copy_row(&self, output: usize, out: &mut [f32]) {
        let (format, panel, lane) = (self.format(), output / PANEL, output % PANEL);
        let step = match format {
            Format::Int8 => f32::from_bits(self.steps_and_surplus(panel).0.0[lane]),
            Format::F32 | Format::Bf16 => 1.0,
        };
        for (numbers, words) in out.chunks_mut(format.per_word()).zip(self.panel(panel)) {
            for (place, number) in numbers.iter_mut().enumerate() {
                *number = format.decode(words.0[lane], place, step);
            }
        }
    }
}
