//! Log probabilities of the tokens drawn, kept as numbers while a request runs and given their texts at its end.

use crate::request::{TokenLogprob, TopLogprob};
use crate::tokenizer::Tokenizer;

/// Log probabilities asked for, and those seen.
#[derive(Debug)]
pub(crate) struct Logprobs {
    top: usize,
    chosen: Vec<(u32, f32)>,
    /// As many for each chosen token, best first.
    alternatives: Vec<(u32, f32)>,
}

impl Logprobs {
    /// The `top` most probable tokens beside each of at most `tokens_max` drawn ones.
    pub(crate) fn new(top: usize, tokens_max: usize) -> Logprobs {
        /// Tokens to make room for at once; longer answers grow.
        const EXPECTED_MAX: usize = 1024;

        let expected = tokens_max.min(EXPECTED_MAX);
        Logprobs { top, chosen: Vec::with_capacity(expected), alternatives: Vec::with_capacity((expected + 1) * top) }
    }

    /// Notes the token drawn from these logits, before temperature, biases and penalties.
    pub(crate) fn record(&mut self, logits: &[f32], token: u32) {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
        let logprob = |id: u32| (f64::from(logits[id as usize] - highest) - total.ln()) as f32;
        self.chosen.push((token, logprob(token)));
        let first = self.alternatives.len();
        for id in 0..logits.len() as u32 {
            let better = self.alternatives[first..].partition_point(|(other, _)| logits[*other as usize] >= logits[id as usize]);
            if better < self.top {
                self.alternatives.insert(first + better, (id, 0.0));
                self.alternatives.truncate(first + self.top);
            }
        }
        self.alternatives[first..].iter_mut().for_each(|(id, value)| *value = logprob(*id));
    }

    /// One entry a token, with texts.
    pub(crate) fn finish(self, tokenizer: &Tokenizer) -> Vec<TokenLogprob> {
        let bytes = |id| tokenizer.bytes(id).to_vec();
        let text = |id| String::from_utf8_lossy(tokenizer.bytes(id)).into_owned();
        let per_token = self.alternatives.len() / self.chosen.len().max(1);
        let entry = |(index, (id, logprob)): (usize, (u32, f32))| {
            let top = &self.alternatives[index * per_token..(index + 1) * per_token];
            let top = top.iter().map(|&(id, logprob)| TopLogprob { token: text(id), id, bytes: bytes(id), logprob });
            TokenLogprob { token: text(id), id, bytes: bytes(id), logprob, top: top.collect() }
        };
        self.chosen.iter().copied().enumerate().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_add_up_to_one() {
        let mut logprobs = Logprobs::new(3, 1);
        logprobs.record(&[0.0, 2f32.ln(), 5f32.ln()], 0);
        assert!((logprobs.chosen[0].1 - (1f32 / 8.0).ln()).abs() < 1e-6);
        assert_eq!(logprobs.alternatives.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 1, 0]);
        assert!((logprobs.alternatives.iter().map(|(_, logprob)| logprob.exp()).sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_lower_id_comes_first_among_equals() {
        let mut logprobs = Logprobs::new(2, 2);
        logprobs.record(&[1.0, 3.0, 3.0, 3.0], 3);
        logprobs.record(&[4.0, 3.0, 2.0, 3.0], 0);
        assert_eq!(logprobs.alternatives.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2, 0, 1]);
    }
}
