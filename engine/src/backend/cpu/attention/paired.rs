//! Attention over entries that are pairs of bf16. Queries and weights are rounded to pairs as well; the sums are f32, in the order of
//! `vdpbf16ps` on every machine: of a pair the second product comes first. (Sums next to the smallest number there is are zero with it alone.)

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cell::RefCell;

use crate::backend::cpu::attention::Context;
use crate::backend::cpu::attention::softmax::softmax;
use crate::backend::cpu::format::Format;
use crate::backend::cpu::latent::Pairs;
use crate::backend::cpu::strided::{LANES, Lanes};
use crate::backend::cpu::vector::Width;

/// What attention is computed in; each compute thread keeps its own.
#[derive(Default)]
struct Scratch {
    starts: Vec<usize>,
    /// `[words][LANES]`
    queries: Vec<u32>,
    /// The scores of all heads by position, then their weights.
    scores: Vec<Lanes>,
    /// The weights of two positions in each word.
    weights: Vec<[u32; LANES]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The entries of a context, position by position.
#[derive(Clone, Copy)]
struct Positions<'a> {
    pairs: &'a Pairs,
    count: usize,
    /// Where in the pairs each entry begins; the last one's place again and again, up to a whole number of registers.
    starts: &'a [usize],
}

impl<'a> Positions<'a> {
    fn entry(&self, position: usize) -> &'a [u32] {
        self.pairs.entry_at(self.starts[position])
    }
}

/// The weights of two positions in each word, for all heads side by side.
#[derive(Clone, Copy)]
struct Weights<'a> {
    words: &'a [[u32; LANES]],
    heads: usize,
}

/// The loops that a machine has its own form of.
#[derive(Clone, Copy)]
struct Loops {
    /// The product of each entry with queries side by side, of which the first `heads` count.
    score: unsafe fn(Positions, &[[u32; LANES]], heads: usize, &mut [Lanes]),
    /// For each head the sum of weight times value: the first `value` numbers of an entry.
    weigh: unsafe fn(Positions, value: usize, Weights, &mut [f32]),
}

impl Loops {
    fn of(width: Width) -> Loops {
        #[cfg(target_arch = "x86_64")]
        if let Some(loops) = x86::loops(width) {
            return loops;
        }
        let _ = width;
        portable::LOOPS
    }
}

/// Softmax-weighted values of the context, for each head of one row.
pub(super) fn attend(width: Width, queries: &[f32], context: &Context, pairs: &Pairs, scale: f32, out: &mut [f32]) {
    let (key, value) = (context.cache.width(), context.value);
    SCRATCH.with_borrow_mut(|scratch| {
        let mut starts = std::mem::take(&mut scratch.starts);
        starts.clear();
        context.slots().for_each(|slots| starts.extend(slots.map(|slot| pairs.start(slot))));
        let (count, last) = (starts.len(), starts.last().copied().unwrap_or(0));
        starts.resize(count.next_multiple_of(LANES), last);
        let (loops, positions) = (Loops::of(width), Positions { pairs, count, starts: &starts });
        let look = Look { width, loops, positions, key, scale };
        for (queries, out) in queries.chunks(LANES * key).zip(out.chunks_mut(LANES * value)) {
            let weights = look.weights(queries, scratch);
            // SAFETY: `Loops::of` has seen the features that the loops need, `Context::of` that values lie within the entries.
            unsafe { (loops.weigh)(positions, value, weights, out) }
        }
        scratch.starts = starts;
    });
}

/// How heads look at positions.
struct Look<'a> {
    width: Width,
    loops: Loops,
    positions: Positions<'a>,
    /// Numbers of a key.
    key: usize,
    scale: f32,
}

impl Look<'_> {
    /// The weights of up to as many heads as a register has lanes.
    fn weights<'a>(&self, queries: &[f32], scratch: &'a mut Scratch) -> Weights<'a> {
        let Scratch { queries: panel, scores, weights, .. } = scratch;
        let heads = queries.len() / self.key;
        panel.clear();
        panel.resize(self.key.div_ceil(2) * LANES, 0);
        for (head, query) in queries.chunks_exact(self.key).enumerate() {
            let mut places = panel.iter_mut().skip(head).step_by(LANES);
            Format::Bf16.encode(self.width, query, 1.0, 0, |encoded| {
                places.by_ref().zip(encoded).for_each(|(place, word)| *place = *word);
            });
        }
        scores.clear();
        scores.resize(self.positions.count, [0.0; LANES]);
        // SAFETY: `Loops::of` has seen the features that the loops need.
        unsafe { (self.loops.score)(self.positions, panel.as_chunks().0, heads, scores) }
        softmax(self.width, scores, self.scale);
        weights.clear();
        portable::pair(self.width, scores, weights);
        Weights { words: weights, heads }
    }
}
