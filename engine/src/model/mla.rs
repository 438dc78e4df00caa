//! Multi-head latent attention: what is cached for a token is one short latent and one rotated key, shared by all heads.

use std::sync::OnceLock;

use crate::backend::{Backend, Norm};
use crate::batch::Batch;
use crate::config::{MlaConfig, ModelConfig};
use crate::error::LoadError;
use crate::model::rope::{self, Rope};
use crate::model::{matrix, norm};
use crate::weights::{Tensor, Weights};

/// The attention of one layer, with its cache and its activations.
pub(super) struct Mla<B: Backend> {
    query: Query<B>,
    latent_down: B::Matrix,
    latent_norm: Norm<B>,
    /// For each head `[latent, nope]`: brings a query into the space of the cache (the absorbed form, in which one
    /// cached entry serves all heads).
    key_up: Vec<B::Matrix>,
    /// For each head `[value, latent]`: brings what was attended to back out.
    value_up: Vec<B::Matrix>,
    output: B::Matrix,
    scale: f32,
    cache: B::Cache,
    q: B::Rows,
    queries: B::Rows,
    latent: B::Rows,
    attended: B::Rows,
    values: B::Rows,
}

/// Queries from the stream, directly or through a low rank.
enum Query<B: Backend> {
    Direct(B::Matrix),
    LowRank { down: B::Matrix, norm: Norm<B>, up: B::Matrix, lowered: B::Rows, normed: B::Rows },
}

impl<B: Backend> Mla<B> {
    /// Writes the cache entries of the rows.
    pub(super) fn write(&mut self, backend: &B, x: &B::Rows, rope: &Rope, batch: &Batch) {
        backend.linear(x, &self.latent_down, &mut self.latent);
        backend.mla_cache(&self.latent, &self.latent_norm, rope, batch, &mut self.cache);
    }

    /// `stream += attention(x)` of rows whose entries are written.
    pub(super) fn attend(&mut self, backend: &B, x: &B::Rows, rope: &Rope, batch: &Batch, stream: &mut B::Rows) {
        self.query.project(backend, x, &mut self.q);
        backend.linear_heads(&self.q, &self.key_up, &mut self.queries);
        backend.rope_heads(&self.q, self.key_up.len(), rope, batch, &mut self.queries);
        backend.mla_attend(&self.queries, self.scale, batch, &self.cache, &mut self.attended);
        backend.linear_heads(&self.attended, &self.value_up, &mut self.values);
        backend.linear_add(&self.values, &self.output, stream);
    }

    pub(super) fn load(
        backend: &B,
        config: &ModelConfig,
        mla: &MlaConfig,
        weights: &Weights,
        prefix: &str,
        slots: usize,
    ) -> Result<Mla<B>, LoadError> {
        let hidden = config.hidden;
        let MlaConfig { heads, latent, nope, rope, value, .. } = *mla;
        let name = |part: &str| format!("{prefix}.{part}.weight");
        let up_name = name("kv_b_proj");
        let up = weights.tensor(&up_name, &[heads * (nope + value), latent])?;
        let key_up = |head: usize| {
            let keys = OnceLock::new();
            let columns = |index: usize, row: &mut [f32]| {
                let keys = keys.get_or_init(|| transposed(&up, head * (nope + value), [nope, latent]));
                row.copy_from_slice(&keys[index * nope..][..nope]);
            };
            backend.pack(&format!("{up_name}.keys.{head}"), [latent, nope], columns)
        };
        let value_up = |head: usize| {
            let first = head * (nope + value) + nope;
            backend.pack(&format!("{up_name}.values.{head}"), [value, latent], |index, row| up.row(first + index, row))
        };
        Ok(Mla {
            query: Query::load(backend, mla, hidden, weights, prefix)?,
            latent_down: with_pairs_apart(backend, mla, weights, &name("kv_a_proj_with_mqa"), [1, latent, hidden])?,
            latent_norm: norm(backend, weights, &name("kv_a_layernorm"), latent, mla.latent_norm_epsilon)?,
            key_up: (0..heads).map(key_up).collect(),
            value_up: (0..heads).map(value_up).collect(),
            output: matrix(backend, weights, &name("o_proj"), [hidden, heads * value])?,
            scale: rope::softmax_scale(&config.rope, nope + rope),
            cache: backend.cache(slots, latent + rope),
            q: backend.rows(heads * (nope + rope)),
            queries: backend.rows(heads * (latent + rope)),
            latent: backend.rows(latent + rope),
            attended: backend.rows(heads * latent),
            values: backend.rows(heads * value),
        })
    }
}

impl<B: Backend> Query<B> {
    fn project(&mut self, backend: &B, x: &B::Rows, out: &mut B::Rows) {
        match self {
            Query::Direct(matrix) => backend.linear(x, matrix, out),
            Query::LowRank { down, norm, up, lowered, normed } => {
                backend.linear(x, down, lowered);
                backend.rms_norm(lowered, norm, normed);
                backend.linear(normed, up, out);
            }
        }
    }

    fn load(backend: &B, mla: &MlaConfig, hidden: usize, weights: &Weights, prefix: &str) -> Result<Query<B>, LoadError> {
        let name = |part: &str| format!("{prefix}.{part}.weight");
        let up = |part: &str, inputs| with_pairs_apart(backend, mla, weights, &name(part), [mla.heads, mla.nope, inputs]);
        let Some(rank) = mla.query_rank else {
            return Ok(Query::Direct(up("q_proj", hidden)?));
        };
        Ok(Query::LowRank {
            down: matrix(backend, weights, &name("q_a_proj"), [rank, hidden])?,
            norm: norm(backend, weights, &name("q_a_layernorm"), rank, mla.latent_norm_epsilon)?,
            up: up("q_b_proj", rank)?,
            lowered: backend.rows(rank),
            normed: backend.rows(rank),
        })
    }
}

/// A tensor of heads that have `plain` channels and then those to be rotated: of the latter, `x0 y0 x1 y1 …` becomes
/// `x0 x1 … y0 y1 …` where they are stored in pairs, so that rotation finds each pair in two halves.
fn with_pairs_apart<B: Backend>(
    backend: &B,
    mla: &MlaConfig,
    weights: &Weights,
    name: &str,
    [heads, plain, inputs]: [usize; 3],
) -> Result<B::Matrix, LoadError> {
    let (channels, pairs) = (plain + mla.rope, mla.rope / 2);
    let shape = [heads * channels, inputs];
    let tensor = weights.tensor(name, &shape)?;
    let stored = |index: usize| match (index % channels).checked_sub(plain) {
        Some(place) if mla.interleaved => index - place + place % pairs * 2 + place / pairs,
        _ => index,
    };
    Ok(backend.pack(name, shape, |index, row| tensor.row(stored(index), row)))
}

/// `[columns, rows]` from some rows of a tensor.
fn transposed(tensor: &Tensor, first: usize, [rows, columns]: [usize; 2]) -> Vec<f32> {
    let (mut row, mut out) = (vec![0.0; columns], vec![0.0; rows * columns]);
    for index in 0..rows {
        tensor.row(first + index, &mut row);
        row.iter().zip(out[index..].iter_mut().step_by(rows)).for_each(|(number, out)| *out = *number);
    }
    out
}
