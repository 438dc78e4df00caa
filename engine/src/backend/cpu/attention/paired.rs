//! Attention over entries that are pairs of bf16. Queries and weights are rounded to pairs as well; the sums are f32, in the order of
//! `vdpbf16ps` on every machine: of a pair the second product comes first.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cell::RefCell;
use std::ops::Range;

use crate::backend::cpu::attention::softmax::{softmax, softmax_one};
use crate::backend::cpu::attention::{Context, FEW};
use crate::backend::cpu::cache::{LINE, Pairs};
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
    weights: Vec<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The entries of a context by position.
#[derive(Clone, Copy)]
struct Entries<'a> {
    pairs: &'a Pairs,
    /// Where in the pairs each entry begins.
    starts: &'a [usize],
}

impl<'a> Entries<'a> {
    fn count(&self) -> usize {
        self.starts.len()
    }

    /// The entry of a position; the last one's for any after it.
    #[inline(always)]
    fn at(&self, position: usize) -> &'a [u32] {
        self.pairs.from(self.starts[position.min(self.starts.len() - 1)])
    }
}

/// The weights of some heads: words of two positions each, and how far apart they lie.
#[derive(Clone, Copy)]
struct Weights<'a> {
    words: &'a [u32],
    heads: usize,
    head_stride: usize,
    pair_stride: usize,
}

impl Weights<'_> {
    #[inline(always)]
    fn word(&self, head: usize, pair: usize) -> u32 {
        self.words[head * self.head_stride + pair * self.pair_stride]
    }
}

/// The loops that a machine has its own form of.
#[derive(Clone, Copy)]
struct Loops {
    /// The product of each entry's key, from a word on, with queries side by side, of which the first `heads` count.
    score: unsafe fn(Entries, usize, &[[u32; LANES]], heads: usize, &mut [Lanes]),
    /// The same with one query, whose words fill whole lines.
    score_one: unsafe fn(Entries, usize, &[u32], &mut [f32]),
    /// For each head the sum of weight times value; `values` are numbers of an entry.
    weigh: unsafe fn(Entries, Range<usize>, Weights, &mut [f32]),
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
    let (key, value) = (context.keys.len(), context.values.len());
    let loops = Loops::of(width);
    SCRATCH.with_borrow_mut(|scratch| {
        let mut starts = std::mem::take(&mut scratch.starts);
        starts.clear();
        starts.extend(context.slots().flatten().map(|slot| pairs.start(slot)));
        let entries = Entries { pairs, starts: &starts };
        for (queries, out) in queries.chunks(LANES * key).zip(out.chunks_mut(LANES * value)) {
            let few = queries.len() / key <= FEW;
            let weights = if few { weights_of_few } else { weights_of_many };
            let weights = weights(width, loops, entries, queries, context, scale, scratch);
            // SAFETY: `Loops::of` has seen the features that the loops need.
            unsafe { (loops.weigh)(entries, context.values.clone(), weights, out) }
        }
        scratch.starts = starts;
    });
}

/// Heads one after the other.
fn weights_of_few<'a>(
    width: Width,
    loops: Loops,
    entries: Entries,
    queries: &[f32],
    context: &Context,
    scale: f32,
    scratch: &'a mut Scratch,
) -> Weights<'a> {
    let Scratch { queries: words, scores_one: scores, weights, .. } = scratch;
    let key = context.keys.len();
    weights.clear();
    for query in queries.chunks_exact(key) {
        round(width, query, words);
        words.resize(words.len().next_multiple_of(LINE), 0);
        scores.clear();
        scores.resize(entries.count().next_multiple_of(LANES), 0.0);
        // SAFETY: `Loops::of` has seen the features that the loops need.
        unsafe { (loops.score_one)(entries, context.keys.start / 2, words, scores) }
        let scores = &mut scores[..entries.count()];
        softmax_one(width, scores, scale);
        Format::Bf16.encode(width, scores, 1.0, 0, |encoded| weights.extend_from_slice(encoded));
    }
    let heads = queries.len() / key;
    Weights { words: weights, heads, head_stride: weights.len() / heads, pair_stride: 1 }
}

/// Heads side by side in the lanes of a register.
fn weights_of_many<'a>(
    width: Width,
    loops: Loops,
    entries: Entries,
    queries: &[f32],
    context: &Context,
    scale: f32,
    scratch: &'a mut Scratch,
) -> Weights<'a> {
    let Scratch { queries: panel, scores, weights, .. } = scratch;
    let (key, heads) = (context.keys.len(), queries.len() / context.keys.len());
    panel.clear();
    panel.resize(key.div_ceil(2) * LANES, 0);
    for (head, query) in queries.chunks_exact(key).enumerate() {
        let mut places = panel.iter_mut().skip(head).step_by(LANES);
        Format::Bf16.encode(width, query, 1.0, 0, |encoded| {
            places.by_ref().zip(encoded).for_each(|(place, word)| *place = *word);
        });
    }
    scores.clear();
    scores.resize(entries.count(), [0.0; LANES]);
    // SAFETY: `Loops::of` has seen the features that the loops need.
    unsafe { (loops.score)(entries, context.keys.start / 2, panel.as_chunks().0, heads, scores) }
    softmax(width, scores, scale);
    weights.clear();
    portable::pair(width, scores, weights);
    Weights { words: weights, heads, head_stride: 1, pair_stride: LANES }
}

fn round(width: Width, numbers: &[f32], words: &mut Vec<u32>) {
    words.clear();
    Format::Bf16.encode(width, numbers, 1.0, 0, |encoded| words.extend_from_slice(encoded));
}
