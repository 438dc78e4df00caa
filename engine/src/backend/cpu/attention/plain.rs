//! Attention over entries in f32: the specification.

mod weights;

use std::cell::RefCell;

use crate::backend::cpu::attention::Context;
use crate::backend::cpu::strided::{self, LANES, Strided};
use crate::backend::cpu::vector::{Width, for_every_width};
use weights::Scratch;

/// Heads whose weighted sums stay in registers together.
const HEADS: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Softmax-weighted values of the context, for each head of one row.
pub(super) fn attend(width: Width, queries: &[f32], context: &Context, scale: f32, out: &mut [f32]) {
    let (key, value) = (context.cache.width(), context.value);
    SCRATCH.with_borrow_mut(|scratch| {
        for (queries, out) in queries.chunks(LANES * key).zip(out.chunks_mut(LANES * value)) {
            let weights = weights::of(width, queries, context, scale, scratch);
            weigh(width, weights, context, out);
        }
    });
}

/// A run of entries for each page.
fn pages<'a>(context: &Context<'a>) -> impl Iterator<Item = &'a [f32]> + use<'a> {
    let cache = context.cache;
    context.slots().map(|slots| cache.numbers(slots))
}

for_every_width! {
    /// For each head the sum of weight times value.
    fn weigh(weights: Strided, context: &Context, out: &mut [f32]) = weigh_body::<LANES>, weigh_body::<LANES>, weigh_body::<{ 4 * LANES }>
}

#[inline(always)]
fn weigh_body<const WIDTH: usize>(weights: Strided, context: &Context, out: &mut [f32]) {
    let value = context.value;
    let wide = value - value % WIDTH;
    let blocked = value - value % LANES;
    for channel in (0..wide).step_by(WIDTH) {
        weigh_heads::<WIDTH>(weights, context, channel, out);
    }
    for channel in (wide..blocked).step_by(LANES) {
        weigh_heads::<LANES>(weights, context, channel, out);
    }
    for channel in blocked..value {
        weigh_heads::<1>(weights, context, channel, out);
    }
}

/// All heads, some neighbouring channels.
#[inline(always)]
fn weigh_heads<const WIDTH: usize>(weights: Strided, context: &Context, channel: usize, out: &mut [f32]) {
    let together = weights.count - weights.count % HEADS;
    for head in (0..together).step_by(HEADS) {
        weigh_block::<HEADS, WIDTH>(weights, head, context, channel, out);
    }
    for head in together..weights.count {
        weigh_block::<1, WIDTH>(weights, head, context, channel, out);
    }
}

/// The same for some neighbouring heads and channels, in registers.
#[inline(always)]
fn weigh_block<const N: usize, const WIDTH: usize>(weights: Strided, head: usize, context: &Context, channel: usize, out: &mut [f32]) {
    let mut sums = [[0.0; WIDTH]; N];
    let mut position = 0;
    for page in pages(context) {
        let values = page.chunks_exact(context.cache.width()).map(|entry| entry[channel..].first_chunk().unwrap_or(&[0.0; WIDTH]));
        let entries = values.len();
        sums = strided::tile(sums, weights.skip(position).rows(head), values);
        position += entries;
    }
    for (row, sums) in sums.iter().enumerate() {
        out[(head + row) * context.value + channel..][..WIDTH].copy_from_slice(sums);
    }
}
