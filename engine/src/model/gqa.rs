//! Attention over plain keys and values, each shared by a group of query heads. Families differ in biases, in what is
//! normalised, and in whether values are cut off.

use crate::backend::{Backend, Norm};
use crate::batch::Batch;
use crate::config::{GqaConfig, ModelConfig, QueryKeyNorm};
use crate::error::LoadError;
use crate::model::rope::Rope;
use crate::model::{matrix, norm, vector};
use crate::weights::Weights;

/// The attention of one layer, with its cache and its activations.
pub(super) struct Gqa<B: Backend> {
    config: GqaConfig,
    query: Projection<B>,
    key: Projection<B>,
    value: Projection<B>,
    output: B::Matrix,
    output_bias: Option<B::Vector>,
    scale: f32,
    cache: B::Cache,
    queries: B::Rows,
    attended: B::Rows,
}

/// From the stream to queries, keys or values that are not rotated yet.
struct Projection<B: Backend> {
    matrix: B::Matrix,
    bias: Option<B::Vector>,
    norm: Option<Norm<B>>,
    clip: Option<f32>,
    projected: B::Rows,
    normed: B::Rows,
}

impl<B: Backend> Gqa<B> {
    /// Writes the cache entries of the rows.
    pub(super) fn write(&mut self, backend: &B, x: &B::Rows, rope: &Rope, batch: &Batch) {
        let (keys, values) = (self.key.run(backend, x), self.value.run(backend, x));
        backend.gqa_cache(keys, values, rope, batch, &mut self.cache);
    }

    /// `stream += attention(x)` of rows whose entries are written.
    pub(super) fn attend(&mut self, backend: &B, x: &B::Rows, rope: &Rope, batch: &Batch, stream: &mut B::Rows) {
        let GqaConfig { heads, groups, .. } = self.config;
        backend.rope_heads(self.query.run(backend, x), heads, rope, batch, &mut self.queries);
        backend.gqa_attend(&self.queries, groups, self.scale, batch, &self.cache, &mut self.attended);
        backend.linear_add(&self.attended, &self.output, stream);
        if let Some(bias) = &self.output_bias {
            backend.add_bias(bias, stream);
        }
    }

    pub(super) fn load(
        backend: &B,
        config: &ModelConfig,
        gqa: &GqaConfig,
        weights: &Weights,
        prefix: &str,
        slots: usize,
    ) -> Result<Gqa<B>, LoadError> {
        let hidden = config.hidden;
        let (queries, keys) = (gqa.heads * gqa.head, gqa.groups * gqa.head);
        let matrix = |part: &str, shape| matrix(backend, weights, &format!("{prefix}.{part}.weight"), shape);
        let bias =
            |has: bool, part: &str, width| has.then(|| vector(backend, weights, &format!("{prefix}.{part}.bias"), width)).transpose();
        let projection = |part: &str, width: usize| {
            Ok(Projection {
                matrix: matrix(part, [width, hidden])?,
                bias: bias(gqa.bias, part, width)?,
                norm: None,
                clip: gqa.clip,
                projected: backend.rows(width),
                normed: backend.rows(width),
            })
        };
        let norm = |part: &str, width: usize| {
            let width = match gqa.norm {
                QueryKeyNorm::None => return Ok(None),
                QueryKeyNorm::EachHead => gqa.head,
                QueryKeyNorm::AllHeads => width,
            };
            norm(backend, weights, &format!("{prefix}.{part}.weight"), width, config.norm_epsilon).map(Some)
        };
        Ok(Gqa {
            query: Projection { norm: norm("q_norm", queries)?, ..projection("q_proj", queries)? },
            key: Projection { norm: norm("k_norm", keys)?, ..projection("k_proj", keys)? },
            value: projection("v_proj", keys)?,
            output: matrix("o_proj", [hidden, queries])?,
            output_bias: bias(gqa.output_bias, "o_proj", hidden)?,
            scale: (gqa.head as f64).powf(-0.5) as f32,
            cache: backend.cache_grouped(slots, gqa.groups, gqa.head),
            queries: backend.rows(queries),
            attended: backend.rows(queries),
            config: gqa.clone(),
        })
    }
}

impl<B: Backend> Projection<B> {
    fn run(&mut self, backend: &B, x: &B::Rows) -> &B::Rows {
        backend.linear(x, &self.matrix, &mut self.projected);
        if let Some(bias) = &self.bias {
            backend.add_bias(bias, &mut self.projected);
        }
        let out = match &self.norm {
            Some(norm) => {
                backend.rms_norm(&self.projected, norm, &mut self.normed);
                &mut self.normed
            }
            None => &mut self.projected,
        };
        if let Some(limit) = self.clip {
            backend.clamp(limit, out);
        }
        out
    }
}
