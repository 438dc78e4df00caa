//! Activations as the kernels take them: converted to words, some rows side by side in tiles. The memory is kept.

use std::ops::Range;

use crate::backend::cpu::format::{CHUNK, Format, OFFSET};
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::vector::Width;

/// Rows in runs that go through one matrix each; a tile belongs to one run.
pub(super) struct Operand {
    format: Format,
    inputs: usize,
    rows: usize,
    tiles: Vec<Range<usize>>,
    /// The tiles of each run.
    runs: Vec<Range<usize>>,
    /// `[tiles][words][rows of the tile]`
    words: Vec<u32>,
    /// One for each row.
    steps: Vec<f32>,
}

/// Rows that are multiplied together.
pub(super) struct Tile<'a> {
    pub(super) rows: Range<usize>,
    pub(super) words: &'a [u32],
    pub(super) steps: &'a [f32],
}

impl Operand {
    pub(super) fn new() -> Operand {
        Operand { format: Format::F32, inputs: 0, rows: 0, tiles: Vec::new(), runs: Vec::new(), words: Vec::new(), steps: Vec::new() }
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self, format: Format, inputs: usize) {
        (self.format, self.inputs, self.rows) = (format, inputs, 0);
        self.tiles.clear();
        self.runs.clear();
    }

    /// Makes room for a run of rows, in tiles of nearly equal size.
    pub(super) fn add_run(&mut self, rows: usize, tile_max: usize) {
        let (first, tiles) = (self.tiles.len(), rows.div_ceil(tile_max));
        for tile in 0..tiles {
            self.tiles.push(self.rows + rows * tile / tiles..self.rows + rows * (tile + 1) / tiles);
        }
        self.rows += rows;
        self.runs.push(first..self.tiles.len());
    }

    /// Converts rows, given by their place in the order of the runs.
    pub(super) fn fill<'a>(&mut self, pool: &Pool, width: Width, row: impl Fn(usize) -> &'a [f32] + Sync) {
        let (format, row_words) = (self.format, self.row_words());
        self.words.resize(self.rows * row_words, 0);
        self.steps.resize(self.rows, 1.0);
        let (mut words, mut steps) = (self.words.as_mut_slice(), self.steps.as_mut_slice());
        let tasks = self.tiles.iter().map(|rows| {
            let words = words.split_off_mut(..rows.len() * row_words).unwrap_or_default();
            let steps = steps.split_off_mut(..rows.len()).unwrap_or_default();
            (rows.clone(), words, steps)
        });
        pool.split(self.rows * self.inputs, tasks, |(rows, words, steps)| {
            for (index, step) in steps.iter_mut().enumerate() {
                let row = row(rows.start + index);
                *step = format.step(width, row);
                interleave(width, format, row, *step, index, rows.len(), words);
            }
        });
    }

    /// The tiles of a run.
    pub(super) fn run(&self, index: usize) -> Range<usize> {
        self.runs[index].clone()
    }

    /// Rows in a run.
    pub(super) fn rows(&self, run: usize) -> usize {
        self.tiles[self.run(run)].iter().map(ExactSizeIterator::len).sum()
    }

    pub(super) fn tiles(&self, tiles: Range<usize>) -> impl Iterator<Item = Tile<'_>> + Clone {
        let row_words = self.row_words();
        self.tiles[tiles].iter().map(move |rows| Tile {
            rows: rows.clone(),
            words: &self.words[rows.start * row_words..rows.end * row_words],
            steps: &self.steps[rows.clone()],
        })
    }

    fn row_words(&self) -> usize {
        self.inputs.div_ceil(self.format.per_word())
    }
}

/// Writes the words of one row to its places in a tile.
fn interleave(width: Width, format: Format, row: &[f32], step: f32, index: usize, rows: usize, words: &mut [u32]) {
    let mut encoded = [0; CHUNK];
    for (numbers, words) in row.chunks(CHUNK).zip(words.chunks_mut(CHUNK / format.per_word() * rows)) {
        format.encode(width, numbers, step, OFFSET, &mut encoded);
        for (place, word) in words[index..].iter_mut().step_by(rows).zip(encoded) {
            *place = word;
        }
    }
}
