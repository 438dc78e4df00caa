//! Products of activations with weight matrices, split over the compute threads.

use std::marker::PhantomData;
use std::ops::Range;

use crate::backend::cpu::kernel::{Kernel, PANEL, ROWS_MAX, Sums};
use crate::backend::cpu::matrix::Matrix;
use crate::backend::cpu::operand::{Operand, Tile};
use crate::backend::cpu::{Cpu, sums};

/// Numbers of activations that stay in the second-level cache while panels pass.
const BLOCK_NUMBERS: usize = 256 * 1024;

/// Bytes of panels that stay there while tiles pass.
const PANELS_BYTES: usize = 512 * 1024;

/// How far ahead of the products weights are brought near, in bytes.
const AHEAD: usize = 8192;

/// What becomes of a product.
#[derive(Clone, Copy)]
pub(super) enum Put<'a> {
    Set,
    Add,
    /// It is set after that with the gates has gone through `silu` and been multiplied with it.
    SetGated(&'a Matrix),
}

/// Cells that several tasks write, each its own: the output of a product, for one.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a, T = f32> {
    start: *mut T,
    count: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: `Cells::row` asks its callers to keep to different cells.
unsafe impl<T: Send> Send for Cells<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Cells<'_, T> {}

impl<'a, T> Cells<'a, T> {
    pub(super) fn new(rows: &'a mut [T], stride: usize) -> Cells<'a, T> {
        Cells { start: rows.as_mut_ptr(), count: rows.len(), stride, lifetime: PhantomData }
    }

    /// Some cells of a row.
    ///
    /// # Safety
    /// No two tasks that run at the same time may ask for the same cell.
    pub(super) unsafe fn row(self, row: usize, columns: Range<usize>) -> &'a mut [T] {
        let first = row * self.stride + columns.start;
        assert!(columns.end <= self.stride && first + columns.len() <= self.count, "cells {columns:?} of row {row}");
        // SAFETY: the cells lie in the rows, and the caller keeps to different ones.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), columns.len()) }
    }
}

/// A matrix for one run of an operand, and where its outputs go.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) run: usize,
    pub(super) matrix: &'a Matrix,
    pub(super) put: Put<'a>,
    /// The operand's row that is the first of the output.
    pub(super) first_row: usize,
    /// The output's column that is the first of the matrix.
    pub(super) first_column: usize,
}

impl Part<'_> {
    /// Multiplications for one row.
    fn cost(&self) -> usize {
        self.matrix.cost() * if matches!(self.put, Put::SetGated(_)) { 2 } else { 1 }
    }
}

/// Each part's product, to cells of its own.
pub(super) fn multiply<'a>(
    cpu: &Cpu,
    kernel: Kernel,
    operand: &Operand,
    parts: impl Iterator<Item = Part<'a>> + Clone + Send,
    cells: Cells,
) {
    let cost = parts.clone().map(|part| operand.rows(part.run) * part.cost()).sum();
    let share = cpu.pool.share(cost);
    let tasks = parts.flat_map(|part| {
        let Part { run, matrix, .. } = part;
        let panels = share.div_ceil((operand.rows(run) * part.cost() / matrix.panels()).max(1));
        let tiles = (BLOCK_NUMBERS / matrix.inputs() / ROWS_MAX).max(1);
        blocks(operand.run(run), tiles)
            .flat_map(move |tiles| blocks(0..matrix.panels(), panels).map(move |panels| (part, tiles.clone(), panels)))
    });
    cpu.pool.split(cost, tasks, |(part, tiles, panels)| {
        let out = |row: usize, columns: Range<usize>| {
            let columns = part.first_column + columns.start..part.first_column + columns.end;
            // SAFETY: a task has its own tiles, which are rows, of its own panels, which are columns.
            unsafe { cells.row(row - part.first_row, columns) }
        };
        let (width, tiles) = (cpu.width, operand.tiles(tiles));
        match part.put {
            Put::Set => walk(cpu, kernel, tiles, [part.matrix], panels, |row, columns, [sums]| {
                sums::put(width, sums, out(row, columns));
            }),
            Put::Add => walk(cpu, kernel, tiles, [part.matrix], panels, |row, columns, [sums]| {
                sums::add(width, sums, 1.0, out(row, columns));
            }),
            Put::SetGated(gate) => walk(cpu, kernel, tiles, [gate, part.matrix], panels, |row, columns, [gates, ups]| {
                sums::put_gated(width, gates, ups, out(row, columns));
            }),
        }
    });
}

/// Every tile with every panel of matrices that have the same shape; `put` gets a row, the columns, and their finished sums with each matrix.
pub(super) fn walk<'a, const N: usize>(
    cpu: &Cpu,
    kernel: Kernel,
    tiles: impl Iterator<Item = Tile<'a>> + Clone,
    matrices: [&Matrix; N],
    panels: Range<usize>,
    mut put: impl FnMut(usize, Range<usize>, [&[u32; PANEL]; N]),
) {
    let mut sums: [Sums; N] = [[[0; PANEL]; ROWS_MAX]; N];
    // A tile meets some panels in turn, so that what it writes lies together, and they stay near for the next tile.
    let together = (PANELS_BYTES / (N * size_of_val(matrices[0].panel(0)))).max(1);
    for panels in blocks(panels, together) {
        for tile in tiles.clone() {
            for panel in panels.clone() {
                for (matrix, sums) in matrices.iter().zip(&mut sums) {
                    let words = matrix.panel(panel);
                    kernel.sum(tile.rows.len(), tile.words, words, words.as_ptr().wrapping_byte_add(AHEAD), sums);
                    sums.iter_mut().zip(tile.steps).for_each(|(sums, step)| matrix.finish(cpu.width, panel, sums, *step));
                }
                for (index, row) in tile.rows.clone().enumerate() {
                    put(row, matrices[0].columns(panel), sums.each_ref().map(|sums| &sums[index]));
                }
            }
        }
    }
}

/// Consecutive pieces of a range.
pub(super) fn blocks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let end = range.end;
    range.step_by(size).map(move |start| start..end.min(start + size))
}
