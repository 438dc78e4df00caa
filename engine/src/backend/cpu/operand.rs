//! Activations as the kernels take them: converted to words, some rows side by side in tiles. The memory is kept.

use std::ops::Range;

use crate::backend::cpu::format::{Format, OFFSET};
use crate::backend::cpu::kernel::Form;
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::vector::Width;

/// Numbers of a row that are converted before the next row's: a whole number of words in every format.
const PIECE: usize = 64;

/// Rows in runs that go through one matrix each; a tile belongs to one run.
pub(super) struct Operand {
    form: Form,
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
        Operand {
            form: Form { format: Format::F32, parts: 1 },
            inputs: 0,
            rows: 0,
            tiles: Vec::new(),
            runs: Vec::new(),
            words: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self, form: Form, inputs: usize) {
        (self.form, self.inputs, self.rows) = (form, inputs, 0);
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
        let (form, row_words) = (self.form, self.form.words(self.inputs));
        let (mut words, mut steps) = (grown(&mut self.words, self.rows * row_words), grown(&mut self.steps, self.rows));
        let tasks = self.tiles.iter().map(|rows| {
            let words = words.split_off_mut(..rows.len() * row_words).unwrap_or_default();
            let steps = steps.split_off_mut(..rows.len()).unwrap_or_default();
            (rows.clone(), words, steps)
        });
        pool.split_rows(self.rows * self.inputs, tasks, |(rows, words, steps)| {
            for (step, place) in steps.iter_mut().zip(rows.clone()) {
                *step = form.format.step(width, row(place));
            }
            // All rows a piece at a time, so that the words that lie side by side are written together.
            for (piece, words) in words.chunks_mut(form.words(PIECE) * rows.len()).enumerate() {
                for (index, step) in steps.iter().enumerate() {
                    let row = row(rows.start + index);
                    let numbers = &row[piece * PIECE..row.len().min((piece + 1) * PIECE)];
                    convert(width, form, numbers, *step, words, rows.len(), index);
                }
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
        let row_words = self.form.words(self.inputs);
        self.tiles[tiles].iter().map(move |rows| Tile {
            rows: rows.clone(),
            words: &self.words[rows.start * row_words..rows.end * row_words],
            steps: &self.steps[rows.clone()],
        })
    }
}

/// As much of a vector as is needed; it never shrinks, since growing it again would write all that is new.
pub(super) fn grown<T: Default + Clone>(values: &mut Vec<T>, needed: usize) -> &mut [T] {
    if values.len() < needed {
        values.resize(needed, T::default());
    }
    &mut values[..needed]
}

/// Writes the words of some numbers of one row, which is `index` in a tile of so many `rows`.
pub(super) fn convert(width: Width, form: Form, numbers: &[f32], step: f32, tile: &mut [u32], rows: usize, index: usize) {
    let mut places = tile.chunks_exact_mut(form.parts * rows);
    form.format.encode(width, numbers, step, OFFSET, |words| {
        for (word, places) in words.iter().zip(places.by_ref()) {
            if form.parts == 1 {
                places[index] = *word;
            } else {
                places[index] = word << 16;
                places[rows + index] = word & 0xffff_0000;
            }
        }
    });
}
