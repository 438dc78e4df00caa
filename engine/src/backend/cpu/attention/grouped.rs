//! Attention over keys and values in panels. Both of its products are those of rows with a matrix: the rows are the queries that look at
//! the same keys, which are the heads of a group in some neighbouring rows of a sequence, and then their weights.

use std::cell::RefCell;
use std::ops::Range;

use crate::backend::cpu::attention::softmax::softmax_one;
use crate::backend::cpu::kernel::{Kernel, PANEL, ROWS_MAX, Sums};
use crate::backend::cpu::operand::{convert, grown};
use crate::backend::cpu::panels::Panels;
use crate::backend::cpu::product::{Cells, blocks};
use crate::backend::cpu::{Cpu, Rows, sums};
use crate::batch::Batch;

/// Queries that go over the cache together.
const TOGETHER: usize = 12;

/// What attention is computed in; each compute thread keeps its own.
#[derive(Default)]
struct Scratch {
    /// Which panels of slots the positions are in.
    places: Vec<usize>,
    /// `[tiles][words of a key][queries of a tile]`
    queries: Vec<u32>,
    /// `[queries][positions]`, filled up to whole panels.
    scores: Vec<f32>,
    /// What each query's weights are to be multiplied with.
    shares: Vec<f32>,
    /// `[tiles][words of the positions][queries of a tile]`
    weights: Vec<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Softmax-weighted values of each row's context, for each head.
pub(crate) fn attend(cpu: &Cpu, queries: &Rows, scale: f32, batch: &Batch, panels: &Panels, groups: usize, out: &mut Rows) {
    let positions: usize = batch.rows.iter().map(|row| row.position + 1).sum();
    let (width, head) = (queries.width / groups, panels.head());
    let (heads, kernel) = (width / head, cpu.kernel(panels.format()));
    let spans = batch.spans.iter().flat_map(|span| (0..groups).map(move |group| (span.rows.clone(), group)));
    let tasks = spans.flat_map(|(span, group)| blocks(span, (TOGETHER / heads).max(1)).map(move |rows| (rows, group)));
    let cells = Cells::new(&mut out.data, out.width);
    cpu.pool.split(positions * queries.width, tasks, |(rows, group)| {
        let look = Look { cpu, kernel, batch, panels, group, heads, head, rows, queries, scale };
        // SAFETY: no other task has the cells of these rows and this group.
        let out = |row: usize, columns: Range<usize>| unsafe { cells.row(row, group * width + columns.start..group * width + columns.end) };
        SCRATCH.with_borrow_mut(|scratch| look.run(scratch, out));
    });
}

/// Neighbouring rows of one sequence and the heads of one group.
struct Look<'a> {
    cpu: &'a Cpu,
    kernel: Kernel,
    batch: &'a Batch,
    panels: &'a Panels,
    group: usize,
    /// In a group.
    heads: usize,
    /// Channels of each.
    head: usize,
    rows: Range<usize>,
    queries: &'a Rows,
    scale: f32,
}

impl<'a> Look<'a> {
    /// `out` gives cells of a row, with columns counted from the group's first.
    fn run(&self, scratch: &mut Scratch, out: impl Fn(usize, Range<usize>) -> &'a mut [f32]) {
        let Scratch { places, queries, scores, shares, weights } = scratch;
        let positions = self.find(places);
        let filled = places.len() * PANEL;
        self.convert(self.head, |query| self.query(query), queries);
        let scores = grown(scores, self.count() * filled);
        self.score(places, queries, scores);
        let shares = grown(shares, self.count());
        for (query, (scores, share)) in scores.chunks_exact_mut(filled).zip(&mut *shares).enumerate() {
            let (own, after) = scores.split_at_mut(positions - (self.rows.len() - 1 - query / self.heads));
            softmax_one(self.cpu.width, own, self.scale, share);
            after.fill(0.0);
        }
        self.convert(filled, |query| &scores[query * filled..][..filled], weights);
        self.weigh(places, positions, weights, shares, out);
    }

    /// The number of positions that the last row looks at, and the panels they are in.
    fn find(&self, places: &mut Vec<usize>) -> usize {
        places.clear();
        let mut positions = 0;
        for slots in self.batch.context(self.batch.rows[self.rows.end - 1]) {
            assert!(slots.start.is_multiple_of(PANEL), "a page begins within a panel, with slot {}", slots.start);
            positions += slots.len();
            places.extend(slots.step_by(PANEL).map(|slot| slot / PANEL));
        }
        positions
    }

    /// The product of each query with each key.
    fn score(&self, places: &[usize], queries: &[u32], scores: &mut [f32]) {
        let (panels, group, filled) = (self.panels, self.group, places.len() * PANEL);
        let words = self.kernel.form.words(self.head);
        let mut sums: Sums = [[0; PANEL]; ROWS_MAX];
        for (index, place) in places.iter().enumerate() {
            let next = places.get(index + 1).map_or_else(|| panels.values(places[0], group, 0), |next| panels.keys(*next, group));
            for tile in self.tiles() {
                let queries = &queries[tile.start * words..tile.end * words];
                self.kernel.sum(tile.len(), queries, panels.keys(*place, group), next.as_ptr(), &mut sums);
                for (query, sums) in tile.zip(&sums) {
                    sums::put(self.cpu.width, sums, &mut scores[query * filled + index * PANEL..][..PANEL]);
                }
            }
        }
    }

    /// For each query the sum of weight times value, a panel of positions after the other.
    fn weigh(
        &self,
        places: &[usize],
        positions: usize,
        weights: &[u32],
        shares: &[f32],
        out: impl Fn(usize, Range<usize>) -> &'a mut [f32],
    ) {
        let out = |query: usize, channels: Range<usize>| {
            let first = query % self.heads * self.head;
            out(self.rows.start + query / self.heads, first + channels.start..first + channels.end)
        };
        (0..self.count()).for_each(|query| out(query, 0..self.head).fill(0.0));
        let (form, mut sums): (_, Sums) = (self.kernel.form, [[0; PANEL]; ROWS_MAX]);
        let words = form.words(PANEL);
        for (index, place) in places.iter().enumerate() {
            let looked_at = (positions - index * PANEL).min(PANEL);
            for (panel, channels) in blocks(0..self.head, PANEL).enumerate() {
                let values = |place: usize| self.panels.values(place, self.group, panel);
                let next = values(*places.get(index + 1).unwrap_or(place));
                let values = &values(*place)[..looked_at.div_ceil(form.format.per_word())];
                for tile in self.tiles() {
                    let weights = &weights[(tile.start * places.len() + index * tile.len()) * words..];
                    let weights = &weights[..tile.len() * form.words(looked_at)];
                    self.kernel.sum(tile.len(), weights, values, next.as_ptr(), &mut sums);
                    for (query, sums) in tile.zip(&sums) {
                        sums::add(self.cpu.width, sums, shares[query], out(query, channels.clone()));
                    }
                }
            }
        }
    }

    /// Converts a row for each query.
    fn convert<'b>(&self, numbers: usize, row: impl Fn(usize) -> &'b [f32], words: &mut Vec<u32>) {
        let (form, row_words) = (self.kernel.form, self.kernel.form.words(numbers));
        let words = grown(words, self.count() * row_words);
        for tile in self.tiles() {
            let words = &mut words[tile.start * row_words..tile.end * row_words];
            tile.clone().enumerate().for_each(|(index, query)| convert(self.cpu.width, form, row(query), 1.0, words, tile.len(), index));
        }
    }

    /// Queries that the kernel takes at once.
    fn tiles(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (count, tiles) = (self.count(), self.count().div_ceil(self.kernel.rows_max));
        (0..tiles).map(move |tile| count * tile / tiles..count * (tile + 1) / tiles)
    }

    /// The queries are those of the first row's heads, then those of the next row's.
    fn query(&self, index: usize) -> &'a [f32] {
        let row = self.queries.row(self.rows.start + index / self.heads);
        &row[(self.group * self.heads + index % self.heads) * self.head..][..self.head]
    }

    fn count(&self) -> usize {
        self.rows.len() * self.heads
    }
}
