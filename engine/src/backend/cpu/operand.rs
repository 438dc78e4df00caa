//! Activations as the kernels take them: converted to words, some rows side by side in tiles. The memory is kept.

use std::ops::Range;

use crate::backend::cpu::format::{Format, OFFSET};
use crate::backend::cpu::kernel::Form;
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::vector::Width;

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
        self.words.resize(self.rows * row_words, 0);
        self.steps.resize(self.rows, 1.0);
        let (mut words, mut steps) = (self.words.as_mut_slice(), self.steps.as_mut_slice());
        let tasks = self.tiles.iter().map(|rows| {
            let words = words.split_off_mut(..rows.len() * row_words).unwrap_or_default();
            let steps = steps.split_off_mut(..rows.len()).unwrap_or_default();
            (rows.clone(), words, steps)
        });
        pool.split_rows(self.rows * self.inputs, tasks, |(rows, words, steps)| {
            for (index, step) in steps.iter_mut().enumerate() {
                let row = row(rows.start + index);
                *step = form.format.step(width, row);
                convert(width, form, row, *step, words, rows.len(), index);
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

/// Writes the words of one row, which is `index` in a tile of so many `rows`.
fn convert(width: Width, form: Form, row: &[f32], step: f32, tile: &mut [u32], rows: usize, index: usize) {
    let mut first = index;
    form.format.encode(width, row, step, OFFSET, |words| {
        let mut put = |first: usize, word: fn(u32) -> u32| {
            let places = tile[first..].iter_mut().step_by(form.parts * rows);
            places.zip(words).for_each(|(place, packed)| *place = word(*packed));
        };
        if form.parts == 1 {
            put(first, |word| word);
        } else {
            put(first, |word| word << 16);
            put(first + rows, |word| word & 0xffff_0000);
        }
        first += words.len() * form.parts * rows;
    });
}
