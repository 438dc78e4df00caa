//! Multi-head latent attention: what is cached for a token is one short latent and one rotated key, shared by all heads.

use crate::backend::{Backend, Norm};
use crate::batch::Batch;
use crate::config::{MlaConfig, ModelConfig};
use crate::error::LoadError;
use crate::model::norm;
use crate::model::rope::{self, Rope};
use crate::weights::Weights;

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
        let mut down = weights.tensor(&name("kv_a_proj_with_mqa"), &[latent + rope, hidden])?;
        if mla.interleaved {
            separate_pairs(&mut down[latent * hidden..], hidden);
        }
        let up = weights.tensor(&name("kv_b_proj"), &[heads * (nope + value), latent])?;
        let heads_up = || up.chunks_exact((nope + value) * latent).map(|head| head.split_at(nope * latent));
        let output = weights.tensor(&name("o_proj"), &[hidden, heads * value])?;
        Ok(Mla {
            query: Query::load(backend, mla, hidden, weights, prefix)?,
            latent_down: backend.matrix(&down, hidden),
            latent_norm: norm(backend, weights, &name("kv_a_layernorm"), latent, mla.latent_norm_epsilon)?,
            key_up: heads_up().map(|(keys, _)| backend.matrix(&transposed(keys, latent), nope)).collect(),
            value_up: heads_up().map(|(_, values)| backend.matrix(values, latent)).collect(),
            output: backend.matrix(&output, heads * value),
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
        let outputs = mla.heads * (mla.nope + mla.rope);
        let up = |part: &str, inputs: usize| {
            let mut up = weights.tensor(&name(part), &[outputs, inputs])?;
            if mla.interleaved {
                for head in up.chunks_exact_mut((mla.nope + mla.rope) * inputs) {
                    separate_pairs(&mut head[mla.nope * inputs..], inputs);
                }
            }
            Ok(backend.matrix(&up, inputs))
        };
        let Some(rank) = mla.query_rank else {
            return Ok(Query::Direct(up("q_proj", hidden)?));
        };
        Ok(Query::LowRank {
            down: backend.matrix(&weights.tensor(&name("q_a_proj"), &[rank, hidden])?, hidden),
            norm: norm(backend, weights, &name("q_a_layernorm"), rank, mla.latent_norm_epsilon)?,
            up: up("q_b_proj", rank)?,
            lowered: backend.rows(rank),
            normed: backend.rows(rank),
        })
    }
}

/// Reorders output channels `x0 y0 x1 y1 …` to `x0 x1 … y0 y1 …`, so that rotation finds each pair in two halves.
fn separate_pairs(rows: &mut [f32], inputs: usize) {
    let interleaved = rows.to_vec();
    let pairs = rows.len() / inputs / 2;
    for (index, row) in interleaved.chunks_exact(inputs).enumerate() {
        let place = index % 2 * pairs + index / 2;
        rows[place * inputs..][..inputs].copy_from_slice(row);
    }
}

/// `[columns, rows]` from `[rows, columns]`.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let column = |index: usize| matrix[index..].iter().step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}
