//! The CPU: plain f32 is the specification of every operation, blocked and threaded.

mod attention;
mod experts;
mod matrix;
mod pool;
mod vector;

use std::iter;
use std::ops::Range;

use crate::backend::{Backend, Expert, Norm};
use crate::batch::Batch;
use crate::config::MoeConfig;
use crate::model::rope::Rope;
use attention::Context;
use experts::Routes;
use matrix::{Matrix, Strided};
use pool::Pool;
use vector::Width;

/// A CPU: threads, and the vector width that every kernel is compiled for.
pub(crate) struct Cpu {
    pool: Pool,
    width: Width,
}

impl Cpu {
    pub(crate) fn new(threads: usize) -> Cpu {
        Cpu { pool: Pool::new(threads), width: Width::detect() }
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

/// `[slots][width]`
pub(crate) struct Cache {
    width: usize,
    data: Vec<f32>,
}

impl Cache {
    fn entries(&self, slots: Range<usize>) -> &[f32] {
        &self.data[slots.start * self.width..slots.end * self.width]
    }

    fn entry_mut(&mut self, slot: usize) -> &mut [f32] {
        &mut self.data[slot * self.width..][..self.width]
    }
}

impl Backend for Cpu {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Rows = Rows;
    type Routes = Routes;
    type Cache = Cache;

    fn matrix(&self, weights: &[f32], inputs: usize) -> Matrix {
        Matrix::pack(weights, inputs)
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
        Cache { width, data: vec![0.0; slots * width] }
    }

    fn embed(&self, tokens: &[u32], table: &Matrix, out: &mut Rows) {
        out.resize(tokens.len());
        for (token, out) in tokens.iter().zip(out.data.chunks_exact_mut(out.width)) {
            table.copy_row(*token as usize, out);
        }
    }

    fn rms_norm(&self, x: &Rows, norm: &Norm<Cpu>, out: &mut Rows) {
        out.resize(x.count());
        for (x, out) in x.data.chunks_exact(x.width).zip(out.data.chunks_exact_mut(out.width)) {
            vector::rms_norm(self.width, x, &norm.weight, norm.epsilon, out);
        }
    }

    fn linear(&self, x: &Rows, matrix: &Matrix, out: &mut Rows) {
        out.resize(x.count());
        out.data.fill(0.0);
        self.linear_add(x, matrix, out);
    }

    fn linear_add(&self, x: &Rows, matrix: &Matrix, out: &mut Rows) {
        if x.count() == 1 {
            return self.linear_add_row(&x.data, matrix, &mut out.data);
        }
        let (rows, cost) = (self.pool.share(x.count()), x.count() * matrix.cost());
        let tasks = x.data.chunks(rows * x.width).zip(out.data.chunks_mut(rows * out.width));
        self.pool.split(cost, tasks, |(x, out)| {
            let x = Strided::packed(x, matrix.inputs());
            matrix::multiply_add(self.width, x, matrix.all(), out, matrix.outputs());
        });
    }

    fn linear_heads(&self, x: &Rows, heads: &[Matrix], out: &mut Rows) {
        out.resize(x.count());
        out.data.fill(0.0);
        let (x_width, out_width) = (x.width, out.width);
        let (rows, cost) = (self.pool.share(x.count()), x.count() * heads.iter().map(Matrix::cost).sum::<usize>());
        let tasks = x.data.chunks(rows * x_width).zip(out.data.chunks_mut(rows * out_width));
        self.pool.split(cost, tasks, |(x, out)| {
            for (head, matrix) in heads.iter().enumerate() {
                let x = Strided::packed(x, x_width).skip(head * x_width / heads.len());
                let out = &mut out[head * out_width / heads.len()..];
                matrix::multiply_add(self.width, x, matrix.all(), out, out_width);
            }
        });
    }

    fn rope_heads(&self, x: &Rows, heads: usize, rope: &Rope, batch: &Batch, out: &mut Rows) {
        let parts = x.data.chunks_exact(x.width / heads).zip(out.data.chunks_exact_mut(out.width / heads));
        let rows = batch.rows.iter().flat_map(|row| iter::repeat_n(row, heads));
        for (row, (x, out)) in rows.zip(parts) {
            let (x_first, out_first) = (x.len() - rope.width(), out.len() - rope.width());
            rope.at(row.position).rotate(&x[x_first..], &mut out[out_first..]);
        }
    }

    fn swiglu(&self, x: &Rows, out: &mut Rows) {
        out.resize(x.count());
        for (x, out) in x.data.chunks_exact(x.width).zip(out.data.chunks_exact_mut(out.width)) {
            vector::swiglu(self.width, x, out);
        }
    }

    fn mla_cache(&self, x: &Rows, norm: &Norm<Cpu>, rope: &Rope, batch: &Batch, cache: &mut Cache) {
        for (row, x) in batch.rows.iter().zip(x.data.chunks_exact(x.width)) {
            let (x_latent, x_key) = x.split_at(x.len() - rope.width());
            let (latent, key) = cache.entry_mut(batch.slot(*row)).split_at_mut(x_latent.len());
            vector::rms_norm(self.width, x_latent, &norm.weight, norm.epsilon, latent);
            rope.at(row.position).rotate(x_key, key);
        }
    }

    fn mla_attend(&self, queries: &Rows, scale: f32, batch: &Batch, cache: &Cache, out: &mut Rows) {
        out.resize(queries.count());
        let positions: usize = batch.rows.iter().map(|row| row.position + 1).sum();
        let tasks = batch.rows.iter().enumerate().zip(out.data.chunks_exact_mut(out.width));
        self.pool.split(positions * queries.width, tasks, |((index, row), out)| {
            let context = Context::of(*row, batch, cache);
            attention::attend(self.width, queries.row(index), &context, scale, out);
        });
    }

    fn route(&self, logits: &Rows, bias: &Vec<f32>, moe: &MoeConfig, routes: &mut Routes) {
        routes.choose(&logits.data, bias, moe);
    }

    fn experts_add(&self, x: &Rows, routes: &Routes, experts: &[Expert<Cpu>], out: &mut Rows) {
        experts::run(&self.pool, self.width, x, routes, experts, out);
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
    /// A single row is split by output channels instead of by rows.
    fn linear_add_row(&self, x: &[f32], matrix: &Matrix, out: &mut [f32]) {
        let columns = self.pool.share(matrix.panels()) * matrix::LANES;
        let tasks = out.chunks_mut(columns).enumerate();
        self.pool.split(matrix.cost(), tasks, |(index, out)| {
            let columns = matrix.columns(index * columns, out.len());
            matrix::multiply_add(self.width, Strided::packed(x, x.len()), columns, out, matrix.outputs());
        });
    }
}

#[cfg(test)]
mod tests;
