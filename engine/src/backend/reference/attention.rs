//! Latent attention in absorbed form: queries are brought into the space of the cache, so one cached entry a token
//! serves all heads, in prefill and in decode alike.

use crate::backend::reference::Cache;
use crate::backend::reference::matrix::{self, Matrix, Strided};
use crate::backend::reference::vector::{Width, dots, exp, for_every_width};
use crate::batch::{Batch, Row};
use crate::model::rope::Rotation;

/// Channels of a weighted sum that stay in registers.
const BLOCK: usize = 32;

/// What one row may look at.
pub(super) struct Context<'a> {
    pub(super) cache: &'a Cache,
    pub(super) layer: usize,
    pub(super) batch: &'a Batch,
    pub(super) row: Row,
}

impl Context<'_> {
    /// The cached entries, in the order of their positions.
    fn entries(&self) -> impl Iterator<Item = &[f32]> {
        let slots = self.batch.context(self.row).flatten();
        slots.map(|slot| self.cache.entry(self.layer, slot))
    }

    fn length(&self) -> usize {
        self.row.position + 1
    }
}

/// The first part of every head's query, `q_nope W_UK`; `out` comes zeroed.
pub(super) fn absorb_queries(width: Width, q: Strided, key_up: &[Matrix], out: &mut [f32]) {
    let out_width = out.len() / q.rows;
    let (in_head, out_head) = (q.stride / key_up.len(), out_width / key_up.len());
    for (head, matrix) in key_up.iter().enumerate() {
        matrix::multiply_add(width, q.skip(head * in_head), matrix.all(), &mut out[head * out_head..], out_width);
    }
}

/// The second part of every head's query, for one row: `rope(q_pe)`.
pub(super) fn rotate_queries(q: &[f32], key_up: &[Matrix], rotation: Rotation, out: &mut [f32]) {
    let (in_head, out_head) = (q.len() / key_up.len(), out.len() / key_up.len());
    let heads = q.chunks_exact(in_head).zip(out.chunks_exact_mut(out_head));
    for ((q, out), matrix) in heads.zip(key_up) {
        rotation.rotate(&q[matrix.inputs()..], &mut out[matrix.outputs()..]);
    }
}

for_every_width! {
    /// Softmax-weighted latents of the context, for each head of one row.
    fn attend(queries: &[f32], context: &Context, scale: f32, out: &mut [f32]) = attend_body
}

#[inline(always)]
fn attend_body(queries: &[f32], context: &Context, scale: f32, out: &mut [f32]) {
    let entry = context.cache.width;
    let latent = out.len() / (queries.len() / entry);
    let mut weights = vec![0.0; context.length()];
    for (query, out) in queries.chunks_exact(entry).zip(out.chunks_exact_mut(latent)) {
        for (weight, entry) in weights.iter_mut().zip(context.entries()) {
            let [score] = dots([query], entry);
            *weight = score * scale;
        }
        softmax(&mut weights);
        weighted_sum(&weights, context, out);
    }
}

#[inline(always)]
fn softmax(scores: &mut [f32]) {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.iter_mut() {
        *score = exp(*score - highest);
    }
    let total: f32 = scores.iter().sum();
    for score in scores.iter_mut() {
        *score /= total;
    }
}

/// `out = sum of weight * entry` over the first channels of the entries.
#[inline(always)]
fn weighted_sum(weights: &[f32], context: &Context, out: &mut [f32]) {
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    for (index, out) in blocks.iter_mut().enumerate() {
        let mut sums = [0.0; BLOCK];
        for (weight, entry) in weights.iter().zip(context.entries()) {
            let values = &entry[index * BLOCK..][..BLOCK];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
        *out = sums;
    }
    rest.fill(0.0);
    let first = blocks.len() * BLOCK;
    for (weight, entry) in weights.iter().zip(context.entries()) {
        for (sum, value) in rest.iter_mut().zip(&entry[first..]) {
            *sum += weight * value;
        }
    }
}
