//! Attention over entries that are pairs of bf16. Queries and weights are rounded to pairs as well; the sums are f32, in the order of
//! `vdpbf16ps` on every machine: of a pair the second product comes first. (Sums next to the smallest number there is are zero with it alone.)

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cell::RefCell;
use std::ops::Range;

use crate::backend::cpu::attention::softmax::{softmax, softmax_one};
use crate::backend::cpu::attention::{Context, FEW};
use crate::backend::cpu::cache::Pairs;
use crate::backend::cpu::format::Format;
use crate::backend::cpu::strided::{LANES, Lanes};
use crate::backend::cpu::vector::Width;

/// What attention is computed in; each compute thread keeps its own.
#[derive(Default)]
struct Scratch {
    starts: Vec<usize>,
    /// `[words][LANES]` for many heads, one row after the other for few.
    queries: Vec<u32>,
    /// The scores of many heads by position, then their weights.
    scores: Vec<Lanes>,
    /// Those of one head.
    scores_one: Vec<f32>,
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

/// The loops that a machine has its own form of. Words and values lie within the entries.
#[derive(Clone, Copy)]
struct Loops {
    /// The product of each entry's key, from a word on, with queries side by side, of which the first `heads` count.
    score: unsafe fn(Positions, usize, &[[u32; LANES]], heads: usize, &mut [Lanes]),
    /// The same with one query; there is room for as many scores as starts.
    score_one: unsafe fn(Positions, usize, &[u32], &mut [f32]),
    /// For each head the sum of weight times value; `values` are numbers of an entry.
    weigh: unsafe fn(Positions, Range<usize>, Weights, &mut [f32]),
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

/// Softmax-weighted values of the context, for the heads of each group.
pub(super) fn attend<'a>(
    width: Width,
    context: &Context,
    pairs: &Pairs,
    scale: f32,
    groups: impl Iterator<Item = (Context<'a>, &'a [f32], &'a mut [f32])>,
) {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut starts = std::mem::take(&mut scratch.starts);
        starts.clear();
        context.slots().for_each(|slots| starts.extend(slots.map(|slot| pairs.start(slot))));
        let (count, last) = (starts.len(), starts.last().copied().unwrap_or(0));
        starts.resize(count.next_multiple_of(LANES), last);
        let (loops, positions) = (Loops::of(width), Positions { pairs, count, starts: &starts });
        for (Context { keys, values, .. }, queries, out) in groups {
            let look = Look { width, loops, positions, key: keys.len(), first: keys.start / 2, scale };
            for (queries, out) in queries.chunks(LANES * keys.len()).zip(out.chunks_mut(LANES * values.len())) {
                let few = queries.len() / keys.len() <= FEW;
                let weights = if few { look.of_few(queries, scratch) } else { look.of_many(queries, scratch) };
                // SAFETY: `Loops::of` has seen the features that the loops need, `Context::of` that values lie within the entries.
                unsafe { (loops.weigh)(positions, values.clone(), weights, out) }
            }
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
    /// The word of an entry with which the key begins.
    first: usize,
    scale: f32,
}

impl Look<'_> {
    /// The weights of heads one after the other.
    fn of_few<'a>(&self, queries: &[f32], scratch: &'a mut Scratch) -> Weights<'a> {
        let Scratch { queries: words, scores_one: scores, weights, .. } = scratch;
        let Positions { count, starts, .. } = self.positions;
        weights.clear();
        weights.resize(count.div_ceil(2), [0; LANES]);
        for (head, query) in queries.chunks_exact(self.key).enumerate() {
            words.clear();
            words.resize(self.key.div_ceil(2), 0);
            self.put(query, words.iter_mut());
            scores.clear();
            scores.resize(starts.len(), 0.0);
            // SAFETY: `Loops::of` has seen the features that the loops need, `Context::of` that keys lie within the entries.
            unsafe { (self.loops.score_one)(self.positions, self.first, words, scores) }
            softmax_one(self.width, &mut scores[..count], self.scale);
            self.put(&scores[..count], weights.iter_mut().map(|words| &mut words[head]));
        }
        Weights { words: weights, heads: queries.len() / self.key }
    }

    /// The weights of heads side by side in the lanes of a register.
    fn of_many<'a>(&self, queries: &[f32], scratch: &'a mut Scratch) -> Weights<'a> {
        let Scratch { queries: panel, scores, weights, .. } = scratch;
        let heads = queries.len() / self.key;
        panel.clear();
        panel.resize(self.key.div_ceil(2) * LANES, 0);
        for (head, query) in queries.chunks_exact(self.key).enumerate() {
            self.put(query, panel.iter_mut().skip(head).step_by(LANES));
        }
        scores.clear();
        scores.resize(self.positions.count, [0.0; LANES]);
        // SAFETY: as above.
        unsafe { (self.loops.score)(self.positions, self.first, panel.as_chunks().0, heads, scores) }
        softmax(self.width, scores, self.scale);
        weights.clear();
        portable::pair(self.width, scores, weights);
        Weights { words: weights, heads }
    }

    /// Rounds numbers to pairs, and puts each pair to its place.
    fn put<'a>(&self, numbers: &[f32], mut places: impl Iterator<Item = &'a mut u32>) {
        Format::Bf16.encode(self.width, numbers, 1.0, 0, |encoded| {
            places.by_ref().zip(encoded).for_each(|(place, word)| *place = *word);
        });
    }
}
