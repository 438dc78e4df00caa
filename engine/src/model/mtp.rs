//! The layer for multi-token prediction: from the model's state before a token, and that token, a guess of the one after it.

use crate::backend::{Backend, Norm};
use crate::config::ModelConfig;
use crate::draft::DraftBatch;
use crate::error::LoadError;
use crate::model::rope::Rope;
use crate::model::{Layer, norm};
use crate::weights::Weights;

/// A decoder layer over tokens joined with states. The embedding and the head are the model's own, also where a checkpoint repeats them.
///
/// transformers gives a row the position of its token, here it has that of its state, which is one less and the slot of its entry:
/// rotated scores depend on distances alone.
pub(super) struct Mtp<B: Backend> {
    token_norm: Norm<B>,
    state_norm: Norm<B>,
    /// The halves of `eh_proj`, which maps `[token | state]`.
    token_map: B::Matrix,
    state_map: B::Matrix,
    layer: Layer<B>,
    norm: Norm<B>,
    joined: B::Rows,
    normed: B::Rows,
    asking: B::Rows,
}

impl<B: Backend> Mtp<B> {
    /// The states after the rows that ask for a draft, ready for the head; `states` are those before all rows, after the model's last
    /// norm. All rows leave their entries in the cache, and nothing else about those that do not ask is ever looked at.
    pub(super) fn run(&mut self, backend: &B, states: &B::Rows, embedding: &B::Matrix, rope: &Rope, drafts: &DraftBatch) -> &B::Rows {
        let Mtp { layer, joined, normed, asking, .. } = self;
        backend.embed(&drafts.entries.tokens, embedding, joined);
        backend.rms_norm(joined, &self.token_norm, normed);
        backend.linear(normed, &self.token_map, joined);
        backend.rms_norm(states, &self.state_norm, normed);
        backend.linear_add(normed, &self.state_map, joined);
        backend.rms_norm(joined, &layer.attention_norm, normed);
        layer.attention.write(backend, normed, rope, &drafts.entries);

        backend.select(joined, &drafts.entries.sampled, asking);
        backend.rms_norm(asking, &layer.attention_norm, normed);
        layer.attention.attend(backend, normed, rope, &drafts.asking, asking);
        backend.rms_norm(asking, &layer.feed_forward_norm, normed);
        layer.feed_forward.add(backend, normed, asking);
        backend.rms_norm(asking, &self.norm, normed);
        normed
    }

    /// The layer after the last; its cache has as many slots as those before.
    pub(super) fn load(backend: &B, config: &ModelConfig, weights: &Weights, slots: usize) -> Result<Mtp<B>, LoadError> {
        let hidden = config.hidden;
        let name = |part: &str| format!("model.layers.{}.{part}.weight", config.layers);
        let norm = |part: &str| norm(backend, weights, &name(part), hidden, config.norm_epsilon);
        let map_name = name("eh_proj");
        let map = weights.tensor(&map_name, &[hidden, 2 * hidden])?;
        let half = |part: &str, first: usize| {
            let columns = |index: usize, row: &mut [f32]| {
                let mut both = vec![0.0; 2 * hidden];
                map.row(index, &mut both);
                row.copy_from_slice(&both[first..][..hidden]);
            };
            backend.pack(&format!("{map_name}.{part}"), [hidden, hidden], columns)
        };
        Ok(Mtp {
            token_norm: norm("enorm")?,
            state_norm: norm("hnorm")?,
            token_map: half("token", 0),
            state_map: half("state", hidden),
            layer: Layer::load(backend, config, weights, config.layers, slots)?,
            norm: norm("shared_head.norm")?,
            joined: backend.rows(hidden),
            normed: backend.rows(hidden),
            asking: backend.rows(hidden),
        })
    }
}
