//! The attention of one layer, of whichever kind the model has.

use crate::backend::Backend;
use crate::batch::Batch;
use crate::config::{AttentionConfig, ModelConfig};
use crate::error::LoadError;
use crate::model::gqa::Gqa;
use crate::model::mla::Mla;
use crate::model::rope::Rope;
use crate::weights::Weights;

/// Latent attention, or grouped queries over plain keys and values.
pub(super) enum Attention<B: Backend> {
    Mla(Box<Mla<B>>),
    Gqa(Box<Gqa<B>>),
}

impl<B: Backend> Attention<B> {
    /// `stream += attention(x)`
    pub(super) fn add(&mut self, backend: &B, x: &B::Rows, rope: &Rope, batch: &Batch, stream: &mut B::Rows) {
        self.write(backend, x, rope, batch);
        self.attend(backend, x, rope, batch, stream);
    }

    /// Writes the cache entries of the rows.
    pub(super) fn write(&mut self, backend: &B, x: &B::Rows, rope: &Rope, batch: &Batch) {
        match self {
            Attention::Mla(mla) => mla.write(backend, x, rope, batch),
            Attention::Gqa(gqa) => gqa.write(backend, x, rope, batch),
        }
    }

    /// `stream += attention(x)` of rows whose entries are written.
    pub(super) fn attend(&mut self, backend: &B, x: &B::Rows, rope: &Rope, batch: &Batch, stream: &mut B::Rows) {
        match self {
            Attention::Mla(mla) => mla.attend(backend, x, rope, batch, stream),
            Attention::Gqa(gqa) => gqa.attend(backend, x, rope, batch, stream),
        }
    }

    pub(super) fn load(
        backend: &B,
        config: &ModelConfig,
        weights: &Weights,
        prefix: &str,
        slots: usize,
    ) -> Result<Attention<B>, LoadError> {
        match &config.attention {
            AttentionConfig::Mla(mla) => Ok(Attention::Mla(Box::new(Mla::load(backend, config, mla, weights, prefix, slots)?))),
            AttentionConfig::Gqa(gqa) => Ok(Attention::Gqa(Box::new(Gqa::load(backend, config, gqa, weights, prefix, slots)?))),
        }
    }
}
