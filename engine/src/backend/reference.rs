//! The plain f32 backend: the specification of every operation. Blocked and threaded enough to be of use.

mod attention;
mod experts;
mod matrix;
mod pool;
mod vector;

use std::ops::Range;

use crate::backend::{Backend, Expert, LayerCache, Norm};
use crate::batch::Batch;
use crate::config::MoeConfig;
use crate::model::rope::Rope;
use experts::Routes;
use matrix::{Matrix, Strided};
use pool::Pool;
use vector::Width;

/// A CPU: threads, and the vector width that every kernel is compiled for.
pub(crate) struct Reference {
    pool: Pool,
    width: Width,
}

impl Reference {
    pub(crate) fn new(threads: usize) -> Reference {
        Reference { pool: Pool::new(threads), width: Width::detect() }
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

/// `[layers][slots][width]`
pub(crate) struct Cache {
    layers: Vec<Vec<f32>>,
    width: usize,
}

impl Cache {
    fn entries(&self, layer: usize, slots: Range<usize>) -> &[f32] {
        &self.layers[layer][slots.start * self.width..slots.end * self.width]
    }

    fn entry_mut(&mut self, layer: usize, slot: usize) -> &mut [f32] {
        &mut self.layers[layer][slot * self.width..][..self.width]
    }
}

impl Backend for Reference {
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

    fn cache(&self, layers: usize, slots: usize, width: usize) -> Cache {
        // One by one: a zeroed allocation is free until it is written to, a clone of one is not.
        Cache { layers: (0..layers).map(|_| vec![0.0; slots * width]).collect(), width }
    }

    fn embed(&self, tokens: &[u32], table: &Matrix, out: &mut Rows) {
        out.resize(tokens.len());
        for (token, out) in tokens.iter().zip(out.data.chunks_exact_mut(out.width)) {
            table.copy_row(*token as usize, out);
        }
    }

    fn rms_norm(&self, x: &Rows, weight: &Vec<f32>, epsilon: f32, out: &mut Rows) {
        out.resize(x.count());
        for (x, out) in x.data.chunks_exact(x.width).zip(out.data.chunks_exact_mut(out.width)) {
            vector::rms_norm(self.width, x, weight, epsilon, out);
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
        let (rows, cost) = (self.pool.share(x.count()), x.count() * heads.iter().map(Matrix::cost).sum::<usize>());
        let (in_stride, out_stride) = (x.width, out.width);
        let tasks = x.data.chunks(rows * in_stride).zip(out.data.chunks_mut(rows * out_stride));
        self.pool.split(cost, tasks, |(x, out)| {
            for (head, matrix) in heads.iter().enumerate() {
                let x = Strided::packed(x, in_stride).skip(head * matrix.inputs());
                let out = &mut out[head * matrix.outputs()..];
                matrix::multiply_add(self.width, x, matrix.all(), out, out_stride);
            }
        });
    }

    fn swiglu(&self, x: &Rows, out: &mut Rows) {
        out.resize(x.count());
        for (x, out) in x.data.chunks_exact(x.width).zip(out.data.chunks_exact_mut(out.width)) {
            vector::swiglu(self.width, x, out);
        }
    }

    fn mla_query(&self, q: &Rows, key_up: &[Matrix], rope: &Rope, batch: &Batch, out: &mut Rows) {
        out.resize(q.count());
        out.data.fill(0.0);
        let (rows, cost) = (self.pool.share(q.count()), q.count() * key_up.iter().map(Matrix::cost).sum::<usize>());
        let (in_width, out_width) = (q.width, out.width);
        let parts = q.data.chunks(rows * in_width).zip(out.data.chunks_mut(rows * out_width));
        self.pool.split(cost, batch.rows.chunks(rows).zip(parts), |(rows, (q, out))| {
            attention::absorb_queries(self.width, Strided::packed(q, in_width), key_up, out);
            for ((row, q), out) in rows.iter().zip(q.chunks_exact(in_width)).zip(out.chunks_exact_mut(out_width)) {
                attention::rotate_queries(q, key_up, rope.at(row.position), out);
            }
        });
    }

    fn mla_cache(&self, x: &Rows, norm: &Norm<Reference>, rope: &Rope, batch: &Batch, cache: LayerCache<Reference>) {
        let latent = norm.weight.len();
        for (row, x) in batch.rows.iter().zip(x.data.chunks_exact(x.width)) {
            let entry = cache.cache.entry_mut(cache.layer, batch.slot(*row));
            vector::rms_norm(self.width, &x[..latent], &norm.weight, norm.epsilon, &mut entry[..latent]);
            rope.at(row.position).rotate(&x[latent..], &mut entry[latent..]);
        }
    }

    fn mla_attend(&self, queries: &Rows, scale: f32, batch: &Batch, cache: LayerCache<Reference>, out: &mut Rows) {
        out.resize(queries.count());
        let LayerCache { cache, layer } = cache;
        let positions: usize = batch.rows.iter().map(|row| row.position + 1).sum();
        let tasks = batch.rows.iter().enumerate().zip(out.data.chunks_exact_mut(out.width));
        self.pool.split(positions * queries.width, tasks, |((index, row), out)| {
            let context = attention::Context::of(*row, batch, cache, layer);
            attention::attend(self.width, queries.row(index), &context, scale, out);
        });
    }

    fn route(&self, logits: &Rows, bias: &Vec<f32>, moe: &MoeConfig, routes: &mut Routes) {
        routes.choose(&logits.data, bias, moe);
    }

    fn experts_add(&self, x: &Rows, routes: &Routes, experts: &[Expert<Reference>], out: &mut Rows) {
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

impl Reference {
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
