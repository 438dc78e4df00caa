//! Drawing a token from logits. The random number depends on seed and position alone, so a request draws the same
//! tokens in whatever batch it runs. Drawing allocates nothing: what it needs stands in a scratch that is kept.

mod adjust;
mod logprobs;

use std::cmp::Ordering;
use std::iter::successors;

use llguidance::toktrie::SimpleVob;

use adjust::Adjustments;

use crate::backend::cpu::exp;
use crate::config::GenerationConfig;
use crate::request::{Refusal, Sampling};

pub(crate) use logprobs::Logprobs;

/// Checked settings of one request.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    top_k: usize,
    min_p: f32,
    seed: u64,
    adjustments: Adjustments,
}

/// What a request has so far: the prompt, then the answer.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) prompt_tokens: usize,
}

/// Which tokens may be drawn at one place.
pub(crate) struct Permit<'a> {
    /// The tokens a grammar allows; None allows all.
    pub(crate) mask: Option<&'a SimpleVob>,
    /// One more that the mask does not know.
    pub(crate) beside: Option<u32>,
    pub(crate) banned: &'a [u32],
}

/// Memory that drawing works in, one for all requests of an engine.
#[derive(Default)]
pub(crate) struct Scratch {
    logits: Vec<f32>,
    counts: Vec<u32>,
    candidates: Vec<Candidate>,
}

/// From here on the probability of a token is as good as zero beside that of the best.
const FAR: f32 = -80.0;

/// A token that may be drawn.
#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    weight: f32,
}

impl<'a> Permit<'a> {
    pub(crate) fn all_but(banned: &'a [u32]) -> Permit<'a> {
        Permit { mask: None, beside: None, banned }
    }

    fn allows(&self, id: u32) -> bool {
        self.word(id / u32::BITS) >> (id % u32::BITS) & 1 == 1 && !self.banned.contains(&id)
    }

    /// Those of the first `count` tokens that may be drawn, in their order.
    fn ids(&self, count: u32) -> impl Iterator<Item = u32> + Clone {
        let words = (0..count.div_ceil(u32::BITS)).map(|index| (index * u32::BITS, self.word(index)));
        let ids = words.flat_map(|(first, word)| ones(word).map(move |bit| first + bit));
        ids.take_while(move |id| *id < count).filter(|id| !self.banned.contains(id))
    }

    /// A bit for each of 32 tokens, whether banned or not.
    fn word(&self, index: u32) -> u32 {
        let mask = self.mask.map_or(u32::MAX, |mask| mask.as_slice().get(index as usize).copied().unwrap_or(0));
        let beside = self.beside.filter(|id| id / u32::BITS == index).map_or(0, |id| 1 << (id % u32::BITS));
        mask | beside
    }
}

impl Sampler {
    /// The request's settings over the model's defaults.
    pub(crate) fn new(asked: &Sampling, model: &GenerationConfig, id: u64) -> Result<Sampler, Refusal> {
        Ok(Sampler {
            temperature: in_range("temperature", asked.temperature.or(model.temperature).unwrap_or(1.0), 0.0, 100.0)?,
            top_p: in_range("top_p", asked.top_p.or(model.top_p).unwrap_or(1.0), 0.0, 1.0)?,
            top_k: asked.top_k.or(model.top_k).unwrap_or(0) as usize,
            min_p: in_range("min_p", asked.min_p.or(model.min_p).unwrap_or(0.0), 0.0, 1.0)?,
            seed: asked.seed.unwrap_or(id),
            adjustments: Adjustments::new(asked)?,
        })
    }

    /// Draws the next token among those permitted. None if a logit is not a number.
    pub(crate) fn draw(&self, logits: &[f32], place: Place, permit: &Permit, scratch: &mut Scratch) -> Option<u32> {
        let logits = self.adjustments.apply(logits, place, &mut scratch.logits, &mut scratch.counts);
        let best = highest(logits)?;
        let ids = permit.ids(logits.len() as u32);
        let best = if permit.allows(best) {
            best
        } else {
            ids.clone().reduce(|best, id| if logits[id as usize] > logits[best as usize] { id } else { best })?
        };
        if self.temperature < 1e-5 {
            return Some(best);
        }
        let candidates = &mut scratch.candidates;
        self.gather(ids.map(|id| Candidate { id, logit: logits[id as usize], weight: 0.0 }), candidates);
        self.weigh(candidates, logits[best as usize]);
        pick(candidates, uniform(self.seed, place.tokens.len() as u64))
    }

    /// All candidates, or the `top_k` best.
    fn gather(&self, all: impl Iterator<Item = Candidate>, candidates: &mut Vec<Candidate>) {
        candidates.clear();
        if self.top_k == 0 {
            return candidates.extend(all);
        }
        let mut floor = f32::NEG_INFINITY;
        for candidate in all {
            if candidate.logit < floor {
                continue;
            }
            candidates.push(candidate);
            // Now and then, so that nearly all of the rest is below the floor and costs a comparison.
            if candidates.len() == 2 * self.top_k + 64 {
                leave_best(candidates, self.top_k);
                floor = candidates[self.top_k - 1].logit;
            }
        }
        leave_best(candidates, self.top_k);
    }

    /// Gives candidates their weights, 1 to the best, and leaves what min-p, then top-p let through.
    fn weigh(&self, candidates: &mut Vec<Candidate>, highest: f32) {
        for candidate in &mut *candidates {
            let distance = (candidate.logit - highest) / self.temperature;
            candidate.weight = if distance < FAR { 0.0 } else { exp(distance) };
        }
        if self.min_p > 0.0 {
            candidates.retain(|candidate| candidate.weight >= self.min_p);
        }
        if self.top_p < 1.0 {
            leave_nucleus(candidates, f64::from(self.top_p));
        }
    }
}

/// Leaves the best candidates, the worst of them last.
fn leave_best(candidates: &mut Vec<Candidate>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, best_first);
        candidates.truncate(count);
    }
}

/// The first of the highest logits. None if one is not a number. Whole blocks are compared first, which vectorises.
pub(crate) fn highest(logits: &[f32]) -> Option<u32> {
    const BLOCK: usize = 512;
    const LANES: usize = 16;

    let (mut best, mut found) = (f32::NEG_INFINITY, 0);
    for (block, logits) in logits.chunks(BLOCK).enumerate() {
        let (mut lanes, mut numbers) = ([f32::NEG_INFINITY; LANES], true);
        for chunk in logits.chunks(LANES) {
            for (lane, logit) in lanes.iter_mut().zip(chunk) {
                numbers &= !logit.is_nan();
                *lane = if *logit > *lane { *logit } else { *lane };
            }
        }
        if !numbers {
            return None;
        }
        let here = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
        if here > best {
            (best, found) = (here, block);
        }
    }
    let place = logits[found * BLOCK..].iter().position(|logit| *logit == best)?;
    Some((found * BLOCK + place) as u32)
}

/// Leaves the fewest candidates that have this share of the weight. Only as many are sorted as it takes to find them.
fn leave_nucleus(candidates: &mut Vec<Candidate>, share: f64) {
    let wanted = total(candidates) * share;
    let mut reached = 0.0;
    let mut sorted = 0;
    while sorted < candidates.len() {
        let rest = &mut candidates[sorted..];
        let next = (sorted + 1).next_multiple_of(64).min(rest.len());
        if next < rest.len() {
            rest.select_nth_unstable_by(next - 1, best_first);
        }
        rest[..next].sort_unstable_by(best_first);
        let enough = rest[..next].iter().position(|candidate| {
            reached += f64::from(candidate.weight);
            reached >= wanted
        });
        match enough {
            Some(last) => return candidates.truncate(sorted + last + 1),
            None => sorted += next,
        }
    }
}

/// The places of the ones in a word.
fn ones(word: u32) -> impl Iterator<Item = u32> + Clone {
    successors(Some(word), |left| Some(left & left.wrapping_sub(1))).take_while(|left| *left != 0).map(u32::trailing_zeros)
}

/// The most probable first, the lower id first among equals.
fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

fn pick(candidates: &[Candidate], random: f64) -> Option<u32> {
    let mut left = random * total(candidates);
    let hit = candidates.iter().find(|candidate| {
        left -= f64::from(candidate.weight);
        left < 0.0
    });
    hit.or(candidates.last()).map(|candidate| candidate.id)
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

/// A number in `[0, 1)` that is a function of its arguments alone.
fn uniform(seed: u64, position: u64) -> f64 {
    let bits = mix(mix(seed).wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn in_range(param: &'static str, value: f32, low: f32, high: f32) -> Result<f32, Refusal> {
    match low <= value && value <= high {
        true => Ok(value),
        false => Err(Refusal::invalid(param, format!("{param} is {value}, allowed is {low} to {high}"))),
    }
}

#[cfg(test)]
mod tests;
