//! Latents of one layer, an entry for each slot: f32, or pairs of bf16.

use std::ops::Range;

use crate::backend::cpu::format::Format;
use crate::backend::cpu::vector::Width;
use crate::backend::cpu::zeros::Zeros;

/// Pairs in a cache line; every entry of pairs begins one.
pub(super) const LINE: usize = 16;

/// `[slots][width]`
pub(crate) struct Latent {
    width: usize,
    entries: Entries,
}

enum Entries {
    F32(Zeros<f32>),
    Bf16(Pairs),
}

/// `[slots][stride]`, where a word is two numbers, the first in its low half, and zeros fill an entry's last line.
pub(crate) struct Pairs {
    words: Zeros<u32>,
    stride: usize,
    /// An entry before it is rounded.
    fresh: Vec<f32>,
}

impl Latent {
    pub(super) fn new(format: Format, slots: usize, width: usize) -> Latent {
        let entries = match format {
            Format::F32 => Entries::F32(Zeros::new(slots * width)),
            Format::Bf16 | Format::Int8 => Entries::Bf16(Pairs::new(slots, width)),
        };
        Latent { width, entries }
    }

    /// Bytes that one entry takes.
    pub(super) fn entry_bytes(format: Format, width: usize) -> usize {
        match format {
            Format::F32 => width * size_of::<f32>(),
            Format::Bf16 | Format::Int8 => Pairs::stride(width) * size_of::<u32>(),
        }
    }

    /// Numbers in an entry.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Lets `fill` write the entry of a slot.
    pub(super) fn write(&mut self, width: Width, slot: usize, fill: impl FnOnce(&mut [f32])) {
        match &mut self.entries {
            Entries::F32(numbers) => fill(&mut numbers[slot * self.width..][..self.width]),
            Entries::Bf16(pairs) => {
                fill(&mut pairs.fresh);
                pairs.round(width, slot);
            }
        }
    }

    pub(super) fn pairs(&self) -> Option<&Pairs> {
        match &self.entries {
            Entries::F32(_) => None,
            Entries::Bf16(pairs) => Some(pairs),
        }
    }

    /// The entries of some slots, which are f32.
    pub(super) fn numbers(&self, slots: Range<usize>) -> &[f32] {
        match &self.entries {
            Entries::F32(numbers) => &numbers[slots.start * self.width..slots.end * self.width],
            Entries::Bf16(_) => unreachable!("these entries are pairs"),
        }
    }
}

impl Pairs {
    fn new(slots: usize, width: usize) -> Pairs {
        let stride = Pairs::stride(width);
        Pairs { words: Zeros::new(slots * stride), stride, fresh: vec![0.0; width] }
    }

    fn stride(width: usize) -> usize {
        width.div_ceil(2).next_multiple_of(LINE)
    }

    fn round(&mut self, width: Width, slot: usize) {
        let Pairs { words, stride, fresh } = self;
        let mut places = words[slot * *stride..][..*stride].iter_mut();
        Format::Bf16.encode(width, fresh, 1.0, 0, |encoded| {
            places.by_ref().zip(encoded).for_each(|(place, word)| *place = *word);
        });
    }

    /// The word with which the entry of a slot begins.
    pub(super) fn start(&self, slot: usize) -> usize {
        let start = slot * self.stride;
        assert!(start + self.stride <= self.words.len(), "slot {slot} is not in the cache");
        start
    }

    /// All entries, and where they begin is said by [`Pairs::start`].
    pub(super) fn words(&self) -> &[u32] {
        &self.words
    }

    /// The entry that begins with a word.
    pub(super) fn entry_at(&self, start: usize) -> &[u32] {
        &self.words[start..][..self.stride]
    }
}
