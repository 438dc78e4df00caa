//! The feed-forward part of a layer: one dense block, or a router with experts and shared experts beside them.

use crate::backend::{Backend, Expert};
use crate::config::{ExpertNames, ModelConfig, MoeConfig, PLAIN, Scores};
use crate::error::LoadError;
use crate::model::{matrix, vector};
use crate::weights::Weights;

/// What follows attention in a layer.
pub(super) enum FeedForward<B: Backend> {
    Dense(Mlp<B>),
    Experts(Box<Moe<B>>),
}

/// A router, the experts it chooses from, and those that every token goes to.
pub(super) struct Moe<B: Backend> {
    config: MoeConfig,
    router: B::Matrix,
    /// What only selects.
    bias: Option<B::Vector>,
    experts: Vec<Expert<B>>,
    shared: Option<Mlp<B>>,
    logits: B::Rows,
    routes: B::Routes,
}

/// A gated block that all rows pass, and its activations.
pub(super) struct Mlp<B: Backend> {
    weights: Expert<B>,
    gated: B::Rows,
}

impl<B: Backend> FeedForward<B> {
    /// `stream += feed_forward(x)`
    pub(super) fn add(&mut self, backend: &B, x: &B::Rows, stream: &mut B::Rows) {
        match self {
            FeedForward::Dense(mlp) => mlp.add(backend, x, stream),
            FeedForward::Experts(moe) => moe.add(backend, x, stream),
        }
    }

    /// The feed-forward part of layer `index`, which lies under `prefix`.
    pub(super) fn load(
        backend: &B,
        config: &ModelConfig,
        weights: &Weights,
        prefix: &str,
        index: usize,
    ) -> Result<FeedForward<B>, LoadError> {
        let hidden = config.hidden;
        match config.experts(index) {
            Some(moe) => Ok(FeedForward::Experts(Box::new(Moe::load(backend, moe, hidden, weights, prefix)?))),
            None => Ok(FeedForward::Dense(Mlp::load(backend, weights, &format!("{prefix}.mlp"), hidden, config.dense_intermediate)?)),
        }
    }
}

impl<B: Backend> Moe<B> {
    fn add(&mut self, backend: &B, x: &B::Rows, stream: &mut B::Rows) {
        backend.linear(x, &self.router, &mut self.logits);
        backend.route(&self.logits, self.bias.as_ref(), &self.config, &mut self.routes);
        backend.experts_add(x, &self.routes, &self.experts, stream);
        if let Some(shared) = &mut self.shared {
            shared.add(backend, x, stream);
        }
    }

    fn load(backend: &B, moe: &MoeConfig, hidden: usize, weights: &Weights, prefix: &str) -> Result<Moe<B>, LoadError> {
        let prefix = format!("{prefix}.{}", moe.names.block);
        let gate = format!("{prefix}.gate.weight");
        let router = weights.tensor(&gate, &[moe.experts, hidden])?;
        let bias = || vector(backend, weights, &format!("{prefix}.gate.e_score_correction_bias"), moe.experts);
        let expert = |index| load_expert(backend, weights, &format!("{prefix}.experts.{index}"), moe.names, [hidden, moe.intermediate]);
        let shared = match moe.shared {
            0 => None,
            count => Some(Mlp::load(backend, weights, &format!("{prefix}.shared_experts"), hidden, count * moe.intermediate)?),
        };
        Ok(Moe {
            config: moe.clone(),
            router: backend.pack_f32(&gate, [moe.experts, hidden], |index, row| router.row(index, row)),
            bias: match moe.router.scores {
                Scores::BiasedSigmoid => Some(bias()?),
                Scores::Softmax => None,
            },
            experts: (0..moe.experts).map(expert).collect::<Result<_, _>>()?,
            shared,
            logits: backend.rows(moe.experts),
            routes: backend.routes(),
        })
    }
}

impl<B: Backend> Mlp<B> {
    fn add(&mut self, backend: &B, x: &B::Rows, stream: &mut B::Rows) {
        let Expert { gate, up, down } = &self.weights;
        backend.linear_gated(x, gate, up, &mut self.gated);
        backend.linear_add(&self.gated, down, stream);
    }

    pub(super) fn load(backend: &B, weights: &Weights, prefix: &str, hidden: usize, intermediate: usize) -> Result<Mlp<B>, LoadError> {
        Ok(Mlp { weights: load_expert(backend, weights, prefix, &PLAIN, [hidden, intermediate])?, gated: backend.rows(intermediate) })
    }
}

fn load_expert<B: Backend>(
    backend: &B,
    weights: &Weights,
    prefix: &str,
    names: &ExpertNames,
    [hidden, intermediate]: [usize; 2],
) -> Result<Expert<B>, LoadError> {
    let matrix = |part: &str, shape| matrix(backend, weights, &format!("{prefix}.{part}.weight"), shape);
    Ok(Expert {
        gate: matrix(names.gate, [intermediate, hidden])?,
        up: matrix(names.up, [intermediate, hidden])?,
        down: matrix(names.down, [hidden, intermediate])?,
    })
}
