//! A language model over any backend, from token ids to logits. Its parts are in `model/`.

mod attention;
mod gqa;
mod mla;
mod moe;
mod mtp;
pub(crate) mod rope;

use crate::backend::{Backend, Norm};
use crate::batch::Batch;
use crate::config::ModelConfig;
use crate::draft::DraftBatch;
use crate::error::LoadError;
use crate::weights::Weights;
use attention::Attention;
use moe::FeedForward;
use mtp::Mtp;
use rope::Rope;

/// The running model as the engine sees it, whatever the backend.
pub(crate) trait Forward: Send {
    /// Computes a batch into the cache, and returns the logits of its sampled rows.
    fn forward(&mut self, batch: &Batch) -> &[f32];
    /// Computes what follows from the latest batch into the cache of the draft layer, and returns its logits for the rows that ask.
    fn draft(&mut self, drafts: &DraftBatch) -> &[f32];
}

/// The weights, and the activations that are reused from step to step. Each layer has its part of the cache.
pub(crate) struct Model<B: Backend> {
    backend: B,
    embedding: B::Matrix,
    layers: Vec<Layer<B>>,
    norm: Norm<B>,
    /// None where the embedding serves as the head too.
    head: Option<B::Matrix>,
    /// None where no drafts are made.
    mtp: Option<Mtp<B>>,
    rope: Rope,
    /// The states of all rows of the latest batch.
    stream: B::Rows,
    normed: B::Rows,
    last: B::Rows,
    logits: B::Rows,
}

struct Layer<B: Backend> {
    attention_norm: Norm<B>,
    attention: Attention<B>,
    feed_forward_norm: Norm<B>,
    feed_forward: FeedForward<B>,
}

impl<B: Backend + Send> Forward for Model<B> {
    fn forward(&mut self, batch: &Batch) -> &[f32] {
        let Model { backend, rope, stream, normed, last, logits, .. } = self;
        backend.embed(&batch.tokens, &self.embedding, stream);
        for layer in &mut self.layers {
            backend.rms_norm(stream, &layer.attention_norm, normed);
            layer.attention.add(backend, normed, rope, batch, stream);
            backend.rms_norm(stream, &layer.feed_forward_norm, normed);
            layer.feed_forward.add(backend, normed, stream);
        }
        backend.select(stream, &batch.sampled, normed);
        backend.rms_norm(normed, &self.norm, last);
        backend.linear(last, self.head.as_ref().unwrap_or(&self.embedding), logits);
        backend.read(logits)
    }

    fn draft(&mut self, drafts: &DraftBatch) -> &[f32] {
        let Model { backend, rope, stream, normed, last, logits, .. } = self;
        let Some(mtp) = &mut self.mtp else { return &[] };
        backend.select(stream, &drafts.states, normed);
        backend.rms_norm(normed, &self.norm, last);
        let states = mtp.run(backend, last, &self.embedding, rope, drafts);
        backend.linear(states, self.head.as_ref().unwrap_or(&self.embedding), logits);
        backend.read(logits)
    }
}

impl<B: Backend> Model<B> {
    /// Packs the weights for the backend, with a cache of `slots` tokens and positions up to `positions`; those of the draft layer
    /// only if there are to be `drafts`.
    pub(crate) fn load(
        backend: B,
        config: &ModelConfig,
        weights: &Weights,
        slots: usize,
        positions: usize,
        drafts: bool,
    ) -> Result<Model<B>, LoadError> {
        let vocabulary = [config.vocab_size, config.hidden];
        let embedding = matrix(&backend, weights, "model.embed_tokens.weight", vocabulary)?;
        let head = if config.tied_embeddings { None } else { Some(matrix(&backend, weights, "lm_head.weight", vocabulary)?) };
        let layers = (0..config.layers).map(|index| Layer::load(&backend, config, weights, index, slots));
        Ok(Model {
            embedding,
            layers: layers.collect::<Result<_, _>>()?,
            norm: norm(&backend, weights, "model.norm.weight", config.hidden, config.norm_epsilon)?,
            head,
            mtp: drafts.then(|| Mtp::load(&backend, config, weights, slots)).transpose()?,
            rope: Rope::new(&config.rope, config.attention.rotated(), positions),
            stream: backend.rows(config.hidden),
            normed: backend.rows(config.hidden),
            last: backend.rows(config.hidden),
            logits: backend.rows(config.vocab_size),
            backend,
        })
    }
}

impl<B: Backend> Layer<B> {
    fn load(backend: &B, config: &ModelConfig, weights: &Weights, index: usize, slots: usize) -> Result<Layer<B>, LoadError> {
        let prefix = format!("model.layers.{index}");
        let norm = |name: &str| norm(backend, weights, &format!("{prefix}.{name}.weight"), config.hidden, config.norm_epsilon);
        Ok(Layer {
            attention_norm: norm("input_layernorm")?,
            attention: Attention::load(backend, config, weights, &format!("{prefix}.self_attn"), slots)?,
            feed_forward_norm: norm("post_attention_layernorm")?,
            feed_forward: FeedForward::load(backend, config, weights, &prefix, index)?,
        })
    }
}

/// A tensor as it is.
fn matrix<B: Backend>(backend: &B, weights: &Weights, name: &str, shape: [usize; 2]) -> Result<B::Matrix, LoadError> {
    let tensor = weights.tensor(name, &shape)?;
    Ok(backend.pack(name, shape, |index, row| tensor.row(index, row)))
}

fn vector<B: Backend>(backend: &B, weights: &Weights, name: &str, width: usize) -> Result<B::Vector, LoadError> {
    Ok(backend.vector(weights.tensor(name, &[width])?.rows()))
}

fn norm<B: Backend>(backend: &B, weights: &Weights, name: &str, width: usize, epsilon: f32) -> Result<Norm<B>, LoadError> {
    Ok(Norm { weight: vector(backend, weights, name, width)?, epsilon })
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod invariance;
