//! What a device must be able to do: pack weights, and about fifteen fused operations on rows of activations.
//! The model is written once over this trait; `cpu` in f32 is its specification.

pub(crate) mod cpu;

use crate::batch::Batch;
use crate::config::MoeConfig;
use crate::model::rope::Rope;

/// A device with its own forms of weights, activations and cache.
///
/// Rows never influence each other: what an operation writes for a row depends on that row, the weights and the row's
/// own cached context alone, in an order that no batch, chunk, page size or number of threads changes.
pub(crate) trait Backend {
    /// A linear map `[outputs, inputs]`.
    type Matrix: Send;
    /// Per-channel weights.
    type Vector: Send;
    /// Activations: some rows of one width.
    type Rows: Send;
    /// Which experts each row goes to, and with what weight.
    type Routes: Send;
    /// One entry for each cache slot; every layer has its own.
    type Cache: Send;

    /// Packs an `[outputs, inputs]` matrix. Its rows are asked for in any order, on any thread, and not at all if the matrix is found
    /// packed: `name` tells it from all others of the model.
    fn pack(&self, name: &str, shape: [usize; 2], row: impl Fn(usize, &mut [f32]) + Sync) -> Self::Matrix;
    /// The same, for a map that decides rather than computes: its products are f32 whatever the backend's format.
    fn pack_f32(&self, name: &str, shape: [usize; 2], row: impl Fn(usize, &mut [f32]) + Sync) -> Self::Matrix;
    fn vector(&self, weights: Vec<f32>) -> Self::Vector;
    fn rows(&self, width: usize) -> Self::Rows;
    fn routes(&self) -> Self::Routes;
    fn cache(&self, slots: usize, width: usize) -> Self::Cache;
    /// One for keys and values: an entry is `[keys | values]` of all groups, but a backend may lay it out as it likes.
    fn cache_grouped(&self, slots: usize, groups: usize, head: usize) -> Self::Cache {
        self.cache(slots, 2 * groups * head)
    }

    /// `out[r] = table[tokens[r]]`
    fn embed(&self, tokens: &[u32], table: &Self::Matrix, out: &mut Self::Rows);
    /// `out = x / rms(x) * weight`, for each part of a row that is as wide as the weights.
    fn rms_norm(&self, x: &Self::Rows, norm: &Norm<Self>, out: &mut Self::Rows);
    /// `out = x W^T`
    fn linear(&self, x: &Self::Rows, matrix: &Self::Matrix, out: &mut Self::Rows);
    /// `out += x W^T`
    fn linear_add(&self, x: &Self::Rows, matrix: &Self::Matrix, out: &mut Self::Rows);
    /// `out += bias`, in every row.
    fn add_bias(&self, bias: &Self::Vector, out: &mut Self::Rows);
    /// Cuts numbers off at plus and minus `limit`.
    fn clamp(&self, limit: f32, out: &mut Self::Rows);
    /// The first channels of each head's part of `x`, through that head's own matrix, to the first of its part of `out`.
    fn linear_heads(&self, x: &Self::Rows, heads: &[Self::Matrix], out: &mut Self::Rows);
    /// `out = silu(x G^T) * (x U^T)`, the first half of a gated block.
    fn linear_gated(&self, x: &Self::Rows, gate: &Self::Matrix, up: &Self::Matrix, out: &mut Self::Rows);
    /// The last channels of each head's part of `x`, rotated by position, to the last of its part of `out`.
    fn rope_heads(&self, x: &Self::Rows, heads: usize, rope: &Rope, batch: &Batch, out: &mut Self::Rows);

    /// Writes `[rms_norm(latent) | rope(k_pe)]` into the cache slots of the rows.
    fn mla_cache(&self, x: &Self::Rows, norm: &Norm<Self>, rope: &Rope, batch: &Batch, cache: &mut Self::Cache);
    /// Softmax-weighted latents of each row's context, for each head.
    fn mla_attend(&self, queries: &Self::Rows, scale: f32, batch: &Batch, cache: &Self::Cache, out: &mut Self::Rows);

    /// Writes `[rope(keys) | values]` into the cache slots of the rows.
    fn gqa_cache(&self, keys: &Self::Rows, values: &Self::Rows, rope: &Rope, batch: &Batch, cache: &mut Self::Cache);
    /// Softmax-weighted values of each row's context, for each head; neighbouring heads share one of `groups` keys and values.
    fn gqa_attend(&self, queries: &Self::Rows, groups: usize, scale: f32, batch: &Batch, cache: &Self::Cache, out: &mut Self::Rows);

    /// Chooses experts from router logits; `bias` is added to the scores for the choice, not for the weights.
    fn route(&self, logits: &Self::Rows, bias: Option<&Self::Vector>, moe: &MoeConfig, routes: &mut Self::Routes);
    /// `out += sum of weight * expert(x)` over the routes of each row.
    fn experts_add(&self, x: &Self::Rows, routes: &Self::Routes, experts: &[Expert<Self>], out: &mut Self::Rows);

    /// `out = x[rows]`
    fn select(&self, x: &Self::Rows, rows: &[u32], out: &mut Self::Rows);
    /// The numbers themselves, row by row, where the sampler can read them.
    fn read<'a>(&self, x: &'a Self::Rows) -> &'a [f32];
}

/// A norm's weights and epsilon.
pub(crate) struct Norm<B: Backend + ?Sized> {
    pub(crate) weight: B::Vector,
    pub(crate) epsilon: f32,
}

/// A gated feed-forward block: `down(silu(gate x) * up x)`.
pub(crate) struct Expert<B: Backend + ?Sized> {
    pub(crate) gate: B::Matrix,
    pub(crate) up: B::Matrix,
    pub(crate) down: B::Matrix,
}
