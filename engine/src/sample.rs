//! Drawing a token from logits. The random number depends on seed and position alone, so a request draws the same
//! tokens in whatever batch it runs.

use std::cmp::Ordering;

use llguidance::toktrie::SimpleVob;

use crate::config::GenerationConfig;
use crate::request::{Refusal, Sampling};

/// Checked settings of one request.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    top_k: usize,
    min_p: f32,
    seed: u64,
}

/// Which tokens may be drawn at one place.
pub(crate) struct Permit<'a> {
    /// The tokens a grammar allows; None allows all.
    pub(crate) mask: Option<&'a SimpleVob>,
    /// One more that the mask does not know.
    pub(crate) beside: Option<u32>,
    pub(crate) banned: &'a [u32],
}

impl<'a> Permit<'a> {
    pub(crate) fn all_but(banned: &'a [u32]) -> Permit<'a> {
        Permit { mask: None, beside: None, banned }
    }

    fn allows(&self, id: u32) -> bool {
        let in_mask = |mask: &SimpleVob| (id as usize) < mask.len() && mask.is_allowed(id);
        (self.mask.is_none_or(in_mask) || self.beside == Some(id)) && !self.banned.contains(&id)
    }
}

/// A token that may be drawn.
#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    weight: f64,
}

impl Sampler {
    /// The request's settings over the model's defaults.
    pub(crate) fn new(asked: &Sampling, model: &GenerationConfig, id: u64) -> Result<Sampler, Refusal> {
        let in_range = |param, value: f32, low: f32, high: f32| match low <= value && value <= high {
            true => Ok(value),
            false => Err(Refusal::invalid(param, format!("{param} is {value}, allowed is {low} to {high}"))),
        };
        Ok(Sampler {
            temperature: in_range("temperature", asked.temperature.or(model.temperature).unwrap_or(1.0), 0.0, 100.0)?,
            top_p: in_range("top_p", asked.top_p.or(model.top_p).unwrap_or(1.0), 0.0, 1.0)?,
            top_k: asked.top_k.or(model.top_k).unwrap_or(0) as usize,
            min_p: in_range("min_p", asked.min_p.or(model.min_p).unwrap_or(0.0), 0.0, 1.0)?,
            seed: asked.seed.unwrap_or(id),
        })
    }

    /// Draws the token at `position` among those permitted. None if a logit is not a number.
    pub(crate) fn draw(&self, logits: &[f32], permit: &Permit, position: usize) -> Option<u32> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return None;
        }
        let ids = (0..logits.len() as u32).filter(|id| permit.allows(*id));
        let highest = ids.clone().map(|id| logits[id as usize]).fold(f32::NEG_INFINITY, f32::max);
        if self.temperature < 1e-5 {
            return ids.clone().find(|id| logits[*id as usize] == highest);
        }
        let candidate = |id| {
            let logit = logits[id as usize];
            Candidate { id, logit, weight: f64::from((logit - highest) / self.temperature).exp() }
        };
        let candidates = self.truncated(ids.map(candidate).collect());
        pick(&candidates, uniform(self.seed, position as u64))
    }

    /// Leaves what top-k, then min-p, then top-p let through.
    fn truncated(&self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        if self.top_k > 0 && self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, best_first);
            candidates.truncate(self.top_k);
        }
        candidates.retain(|candidate| candidate.weight >= f64::from(self.min_p));
        candidates.sort_unstable_by(best_first);
        if self.top_p < 1.0 {
            let wanted = candidates.iter().map(|c| c.weight).sum::<f64>() * f64::from(self.top_p);
            let mut reached = 0.0;
            let enough = candidates.iter().position(|candidate| {
                reached += candidate.weight;
                reached >= wanted
            });
            candidates.truncate(enough.map_or(candidates.len(), |last| last + 1));
        }
        candidates
    }
}

/// The most probable first, the lower id first among equals.
fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

fn pick(candidates: &[Candidate], random: f64) -> Option<u32> {
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let mut left = random * total;
    let hit = candidates.iter().find(|candidate| {
        left -= candidate.weight;
        left < 0.0
    });
    hit.or(candidates.last()).map(|candidate| candidate.id)
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

/// The log probability of `chosen`, and the `top` most probable tokens with theirs.
pub(crate) fn logprobs(logits: &[f32], chosen: u32, top: usize) -> (f32, Vec<(u32, f32)>) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    let logprob = |id: u32| (f64::from(logits[id as usize] - highest) - total.ln()) as f32;
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let top = top.min(ids.len());
    if top > 0 && top < ids.len() {
        ids.select_nth_unstable_by(top - 1, order);
    }
    ids.truncate(top);
    ids.sort_unstable_by(order);
    (logprob(chosen), ids.into_iter().map(|id| (id, logprob(id))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(sampling: Sampling) -> Sampler {
        Sampler::new(&sampling, &GenerationConfig::default(), 7).unwrap()
    }

    fn drawn(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
        let sampler = sampler(sampling);
        let mut counts = vec![0; logits.len()];
        for position in 0..10_000 {
            counts[sampler.draw(logits, &Permit::all_but(&[]), position).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn temperature_zero_takes_the_lowest_of_equal_best() {
        let greedy = sampler(Sampling { temperature: Some(0.0), ..Sampling::default() });
        assert_eq!(greedy.draw(&[1.0, 3.0, 3.0], &Permit::all_but(&[]), 0), Some(1));
        assert_eq!(greedy.draw(&[1.0, 3.0, 3.0], &Permit::all_but(&[1]), 0), Some(2));
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [0.0, 2f32.ln(), 5f32.ln(), f32::NEG_INFINITY];
        let counts = drawn(Sampling::default(), &logits);
        for (count, expected) in counts.iter().zip([1250.0, 2500.0, 6250.0, 0.0]) {
            assert!((*count as f64 - expected).abs() < 200.0, "{counts:?}");
        }
    }

    #[test]
    fn truncations_keep_what_they_say() {
        let logits = [0.0, 2f32.ln(), 5f32.ln(), 8f32.ln()];
        let kept = |sampling| drawn(sampling, &logits).iter().map(|count| *count > 0).collect::<Vec<_>>();
        assert_eq!(kept(Sampling { top_k: Some(2), ..Sampling::default() }), [false, false, true, true]);
        assert_eq!(kept(Sampling { min_p: Some(0.2), ..Sampling::default() }), [false, true, true, true]);
        assert_eq!(kept(Sampling { top_p: Some(0.6), ..Sampling::default() }), [false, false, true, true]);
        assert_eq!(kept(Sampling { top_p: Some(0.4), ..Sampling::default() }), [false, false, false, true]);
    }

    #[test]
    fn seed_and_position_decide_the_draw() {
        let logits = vec![0.0; 1000];
        let tokens = |seed| {
            let sampler = sampler(Sampling { seed: Some(seed), ..Sampling::default() });
            (0..20).map(|position| sampler.draw(&logits, &Permit::all_but(&[]), position).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(tokens(1), tokens(1));
        assert_ne!(tokens(1), tokens(2));
    }

    #[test]
    fn a_logit_that_is_not_a_number_draws_nothing() {
        assert_eq!(sampler(Sampling::default()).draw(&[0.0, f32::NAN], &Permit::all_but(&[]), 0), None);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let sampling = Sampling { top_p: Some(1.5), ..Sampling::default() };
        let refusal = Sampler::new(&sampling, &GenerationConfig::default(), 0).unwrap_err();
        assert_eq!((refusal.code, refusal.param), ("invalid_value", Some("top_p")));
    }

    #[test]
    fn log_probabilities_add_up_to_one() {
        let (chosen, top) = logprobs(&[0.0, 2f32.ln(), 5f32.ln()], 0, 3);
        assert!((chosen - (1f32 / 8.0).ln()).abs() < 1e-6);
        assert_eq!(top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 1, 0]);
        assert!((top.iter().map(|(_, logprob)| logprob.exp()).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
