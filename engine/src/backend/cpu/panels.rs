//! Keys and values in panels, as matrices are: for a query the keys of neighbouring slots are a matrix to be multiplied with, whose
//! outputs are slots, and so are their values for its weights, with channels as outputs.

use crate::backend::cpu::format::{Format, to_bf16};
use crate::backend::cpu::kernel::{PANEL, Words};
use crate::backend::cpu::product::Cells;
use crate::backend::cpu::vector::{Width, for_every_width};
use crate::backend::cpu::zeros::Zeros;

/// `[slots / PANEL][groups]`, each the keys `[words of a key][PANEL slots]` and then the values
/// `[channels / PANEL][words of PANEL slots][PANEL channels]`.
pub(crate) struct Panels {
    shape: Shape,
    words: Zeros<Words>,
}

#[derive(Clone, Copy)]
struct Shape {
    /// f32 or bf16.
    format: Format,
    groups: usize,
    head: usize,
}

impl Shape {
    fn new(format: Format, groups: usize, head: usize) -> Shape {
        let format = if format == Format::F32 { Format::F32 } else { Format::Bf16 };
        Shape { format, groups, head }
    }

    /// Words of a key.
    fn key(self) -> usize {
        self.head.div_ceil(self.format.per_word())
    }

    /// Words of the slots of a panel.
    fn slots(self) -> usize {
        PANEL / self.format.per_word()
    }

    /// Words of a group.
    fn group(self) -> usize {
        self.key() + self.head.div_ceil(PANEL) * self.slots()
    }
}

impl Panels {
    pub(super) fn new(format: Format, slots: usize, groups: usize, head: usize) -> Panels {
        let shape = Shape::new(format, groups, head);
        Panels { shape, words: Zeros::new(slots.div_ceil(PANEL) * groups * shape.group()) }
    }

    pub(super) fn slot_bytes(format: Format, groups: usize, head: usize) -> usize {
        groups * Shape::new(format, groups, head).group() * size_of::<Words>() / PANEL
    }

    pub(super) fn format(&self) -> Format {
        self.shape.format
    }

    /// Channels of a key or a value.
    pub(super) fn head(&self) -> usize {
        self.shape.head
    }

    /// The keys of the slots from `block * PANEL` on.
    pub(super) fn keys(&self, block: usize, group: usize) -> &[Words] {
        &self.group(block, group)[..self.shape.key()]
    }

    /// Their values, of the channels from `panel * PANEL` on.
    pub(super) fn values(&self, block: usize, group: usize, panel: usize) -> &[Words] {
        &self.group(block, group)[self.shape.key() + panel * self.shape.slots()..][..self.shape.slots()]
    }

    fn group(&self, block: usize, group: usize) -> &[Words] {
        let words = self.shape.group();
        &self.words[(block * self.shape.groups + group) * words..][..words]
    }

    pub(super) fn writer(&mut self) -> Writer<'_> {
        let stride = self.shape.groups * self.shape.group();
        Writer { shape: self.shape, cells: Cells::new(&mut self.words, stride) }
    }
}

/// Writes keys and values, for several tasks at a time.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    shape: Shape,
    cells: Cells<'a, Words>,
}

impl Writer<'_> {
    /// Whoever fills slots fills them one after the other, so what shares a word with the value and follows it counts for nothing, and
    /// becomes zero: it will be multiplied with a weight of zero, which is nothing only if it is a number.
    ///
    /// # Safety
    /// No two tasks that run at the same time may write to the same group.
    pub(super) unsafe fn write(self, width: Width, slot: usize, group: usize, key: &[f32], value: &[f32]) {
        let Writer { shape, cells } = self;
        let (lane, per_word) = (slot % PANEL, shape.format.per_word());
        // SAFETY: another group has other cells.
        let words = unsafe { cells.row(slot / PANEL, group * shape.group()..(group + 1) * shape.group()) };
        let (keys, values) = words.split_at_mut(shape.key());
        let mut keys = keys.iter_mut();
        shape.format.encode(width, key, 1.0, 0, |words| keys.by_ref().zip(words).for_each(|(place, word)| place.0[lane] = *word));
        for (value, panel) in value.chunks(PANEL).zip(values.chunks_exact_mut(shape.slots())) {
            let words = &mut panel[lane / per_word].0;
            match shape.format {
                Format::F32 => words.iter_mut().zip(value).for_each(|(word, number)| *word = number.to_bits()),
                _ => put_half(width, value, lane % per_word, words),
            }
        }
    }
}

for_every_width! {
    /// Bf16 to one half of each word; with the first half the second becomes zero.
    fn put_half(numbers: &[f32], half: usize, words: &mut [u32; PANEL]) = put_half_body
}

#[inline(always)]
fn put_half_body(numbers: &[f32], half: usize, words: &mut [u32; PANEL]) {
    for (word, number) in words.iter_mut().zip(numbers) {
        let bits = to_bf16(*number);
        *word = if half == 0 { bits >> 16 } else { *word & 0xffff | bits & 0xffff_0000 };
    }
}
