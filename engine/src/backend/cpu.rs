//! The CPU: plain f32 is the specification of every operation, blocked and threaded.

pub(crate) mod accuracy;
mod attention;
pub(crate) mod bench;
mod cache;
mod experts;
mod format;
mod kernel;
mod latent;
mod matrix;
mod operand;
mod pack;
mod packed_file;
mod panels;
mod pool;
mod product;
mod slab;
mod strided;
mod sums;
mod vector;
mod zeros;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, Expert, Norm};
use crate::batch::Batch;
use crate::config::MoeConfig;
use crate::model::rope::Rope;
use attention::{Context, grouped};
pub(crate) use cache::Cache;
use experts::Routes;
pub(crate) use format::Format;
use kernel::Kernel;
use latent::Latent;
use matrix::{Layout, Matrix};
use operand::Operand;
pub(crate) use packed_file::{PackedFile, Writing};
use panels::Panels;
use pool::Pool;
use product::{Cells, Part, Put};
use vector::Width;
pub(crate) use vector::exp;

/// A CPU: threads, the vector width that every kernel is compiled for, and the format of most weights.
pub(crate) struct Cpu {
    pool: Pool,
    width: Width,
    format: Format,
    packed: Option<Arc<PackedFile>>,
    scratch: Mutex<Scratch>,
}

/// Operands of the operation that runs; the memory is kept.
struct Scratch {
    linear: Operand,
    experts: experts::Scratch,
}

thread_local! {
    /// A key on its way into the cache.
    static ROTATED: RefCell<Vec<f32>> = RefCell::default();
}

impl Cpu {
    pub(crate) fn new(threads: usize) -> Cpu {
        let scratch = Scratch { linear: Operand::new(), experts: experts::Scratch::new() };
        Cpu { pool: Pool::new(threads), width: Width::detect(), format: Format::F32, packed: None, scratch: Mutex::new(scratch) }
    }

    /// Weights that are packed from here on take this format, but for those that must stay f32.
    pub(crate) fn in_format(self, format: Format) -> Cpu {
        Cpu { format, ..self }
    }

    /// Matrices that are in this file already are not packed again.
    pub(crate) fn with_packed(self, packed: Option<Arc<PackedFile>>) -> Cpu {
        Cpu { packed, ..self }
    }

    fn pack_in(&self, format: Format, name: &str, [outputs, inputs]: [usize; 2], row: impl Fn(usize, &mut [f32]) + Sync) -> Matrix {
        let layout = Layout { format, outputs, inputs };
        let pack = || pack::pack(&self.pool, self.width, layout, row);
        let words = match &self.packed {
            Some(packed) => packed.find_or(name, layout, pack),
            None => pack(),
        };
        Matrix::new(layout, words)
    }

    /// A row-major matrix that belongs to no model.
    fn matrix(&self, weights: &[f32], inputs: usize) -> Matrix {
        let row = |index: usize, row: &mut [f32]| row.copy_from_slice(&weights[index * inputs..][..inputs]);
        self.pack_in(self.format, "", [weights.len() / inputs, inputs], row)
    }

    fn kernel(&self, format: Format) -> Kernel {
        Kernel::of(self.width, format)
    }

    fn scratch(&self) -> MutexGuard<'_, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Row-major activations; the memory is kept from step to step.
#[derive(Default)]
pub(crate) struct Rows {
    width: usize,
    data: Vec<f32>,
}

impl Rows {
    fn count(&self) -> usize {
        self.data.len() / self.width
    }

    fn resize(&mut self, rows: usize) {
        self.data.resize(rows * self.width, 0.0);
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.width..][..self.width]
    }
}

impl Backend for Cpu {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Rows = Rows;
    type Routes = Routes;
    type Cache = Cache;

    fn pack(&self, name: &str, shape: [usize; 2], row: impl Fn(usize, &mut [f32]) + Sync) -> Matrix {
        self.pack_in(self.format, name, shape, row)
    }

    fn pack_f32(&self, name: &str, shape: [usize; 2], row: impl Fn(usize, &mut [f32]) + Sync) -> Matrix {
        self.pack_in(Format::F32, name, shape, row)
    }

    fn vector(&self, weights: Vec<f32>) -> Vec<f32> {
        weights
    }

    fn rows(&self, width: usize) -> Rows {
        Rows { width, data: Vec::new() }
    }

    fn routes(&self) -> Routes {
        Routes::default()
    }

    fn cache(&self, slots: usize, width: usize) -> Cache {
        Cache::Latent(Latent::new(self.format, slots, width))
    }

    fn cache_grouped(&self, slots: usize, groups: usize, head: usize) -> Cache {
        Cache::Panels(Panels::new(self.format, slots, groups, head))
    }

    fn embed(&self, tokens: &[u32], table: &Matrix, out: &mut Rows) {
        out.resize(tokens.len());
        for (token, out) in tokens.iter().zip(out.data.chunks_exact_mut(out.width)) {
            table.copy_row(*token as usize, out);
        }
    }

    fn rms_norm(&self, x: &Rows, norm: &Norm<Cpu>, out: &mut Rows) {
        out.resize(x.count());
        let width = norm.weight.len();
        let rows = x.data.chunks_exact(width).zip(out.data.chunks_exact_mut(width));
        self.pool.split_rows(x.data.len(), rows, |(x, out)| vector::rms_norm(self.width, x, &norm.weight, norm.epsilon, out));
    }

    fn linear(&self, x: &Rows, matrix: &Matrix, out: &mut Rows) {
        out.resize(x.count());
        self.multiply(x, matrix, Put::Set, out);
    }

    fn linear_add(&self, x: &Rows, matrix: &Matrix, out: &mut Rows) {
        self.multiply(x, matrix, Put::Add, out);
    }

    fn linear_gated(&self, x: &Rows, gate: &Matrix, up: &Matrix, out: &mut Rows) {
        out.resize(x.count());
        self.multiply(x, up, Put::SetGated(gate), out);
    }

    fn add_bias(&self, bias: &Vec<f32>, out: &mut Rows) {
        for out in out.data.chunks_exact_mut(out.width) {
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        }
    }

    fn clamp(&self, limit: f32, out: &mut Rows) {
        out.data.iter_mut().for_each(|out| *out = out.clamp(-limit, limit));
    }

    fn linear_heads(&self, x: &Rows, heads: &[Matrix], out: &mut Rows) {
        out.resize(x.count());
        let (count, kernel) = (x.count(), self.kernel(heads[0].format()));
        let (x_head, out_head, inputs) = (x.width / heads.len(), out.width / heads.len(), heads[0].inputs());
        let operand = &mut self.scratch().linear;
        operand.clear(kernel.form, inputs);
        heads.iter().for_each(|_| operand.add_run(count, kernel.rows_max));
        operand.fill(&self.pool, self.width, |place| &x.row(place % count)[place / count * x_head..][..inputs]);
        let parts = heads.iter().enumerate();
        let parts = parts.map(|(run, matrix)| Part { run, matrix, put: Put::Set, first_row: run * count, first_column: run * out_head });
        product::multiply(self, kernel, operand, parts, Cells::new(&mut out.data, out.width));
    }

    fn rope_heads(&self, x: &Rows, heads: usize, rope: &Rope, batch: &Batch, out: &mut Rows) {
        out.resize(x.count());
        let rows = batch.rows.iter().zip(x.data.chunks_exact(x.width)).zip(out.data.chunks_exact_mut(out.width));
        self.pool.split_rows(x.data.len(), rows, |((row, x), out)| {
            let rotation = rope.at(row.position);
            for (x, out) in x.chunks_exact(x.len() / heads).zip(out.chunks_exact_mut(out.len() / heads)) {
                let (x_first, out_first) = (x.len() - rope.width(), out.len() - rope.width());
                rotation.rotate(&x[x_first..], &mut out[out_first..]);
            }
        });
    }

    fn mla_cache(&self, x: &Rows, norm: &Norm<Cpu>, rope: &Rope, batch: &Batch, cache: &mut Cache) {
        let cache = cache.latent_mut();
        for (row, x) in batch.rows.iter().zip(x.data.chunks_exact(x.width)) {
            let (x_latent, x_key) = x.split_at(x.len() - rope.width());
            cache.write(self.width, batch.slot(*row), |entry| {
                let (latent, key) = entry.split_at_mut(x_latent.len());
                vector::rms_norm(self.width, x_latent, &norm.weight, norm.epsilon, latent);
                rope.at(row.position).rotate(x_key, key);
            });
        }
    }

    fn mla_attend(&self, queries: &Rows, scale: f32, batch: &Batch, cache: &Cache, out: &mut Rows) {
        out.resize(queries.count());
        let cache = cache.latent();
        let positions: usize = batch.rows.iter().map(|row| row.position + 1).sum();
        let latent = out.width / (queries.width / cache.width());
        let tasks = batch.rows.iter().enumerate().zip(out.data.chunks_exact_mut(out.width));
        self.pool.split(positions * queries.width, tasks, |((index, row), out)| {
            attention::attend(self.width, queries.row(index), &Context::of(*row, batch, cache, latent), scale, out);
        });
    }

    fn gqa_cache(&self, keys: &Rows, values: &Rows, rope: &Rope, batch: &Batch, cache: &mut Cache) {
        let writer = cache.panels_mut().writer();
        let head = rope.width();
        self.pool.split_rows(2 * keys.data.len(), 0..keys.width / head, |group| {
            let channels = group * head..(group + 1) * head;
            ROTATED.with_borrow_mut(|rotated| {
                rotated.resize(head, 0.0);
                for (index, row) in batch.rows.iter().enumerate() {
                    rope.at(row.position).rotate(&keys.row(index)[channels.clone()], rotated);
                    // SAFETY: this task alone has the group.
                    unsafe { writer.write(self.width, batch.slot(*row), group, rotated, &values.row(index)[channels.clone()]) }
                }
            });
        });
    }

    fn gqa_attend(&self, queries: &Rows, groups: usize, scale: f32, batch: &Batch, cache: &Cache, out: &mut Rows) {
        out.resize(queries.count());
        grouped::attend(self, queries, scale, batch, cache.panels(), groups, out);
    }

    fn route(&self, logits: &Rows, bias: Option<&Vec<f32>>, moe: &MoeConfig, routes: &mut Routes) {
        routes.choose(&logits.data, bias.map(Vec::as_slice), moe);
    }

    fn experts_add(&self, x: &Rows, routes: &Routes, experts: &[Expert<Cpu>], out: &mut Rows) {
        self.run_experts(x, routes, experts, out);
    }

    fn select(&self, x: &Rows, rows: &[u32], out: &mut Rows) {
        out.resize(rows.len());
        for (row, out) in rows.iter().zip(out.data.chunks_exact_mut(out.width)) {
            out.copy_from_slice(x.row(*row as usize));
        }
    }

    fn read<'a>(&self, x: &'a Rows) -> &'a [f32] {
        &x.data
    }
}

impl Cpu {
    fn multiply(&self, x: &Rows, matrix: &Matrix, put: Put, out: &mut Rows) {
        let kernel = self.kernel(matrix.format());
        let operand = &mut self.scratch().linear;
        operand.clear(kernel.form, matrix.inputs());
        operand.add_run(x.count(), kernel.rows_max);
        operand.fill(&self.pool, self.width, |row| x.row(row));
        let part = Part { run: 0, matrix, put, first_row: 0, first_column: 0 };
        product::multiply(self, kernel, operand, [part].into_iter(), Cells::new(&mut out.data, out.width));
    }
}

#[cfg(test)]
mod tests;
