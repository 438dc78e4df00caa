//! Log probabilities of tokens, drawn or given, kept as numbers while a request runs and given their texts at its end.

use crate::request::{TokenLogprob, TopLogprob};
use crate::tokenizer::Tokenizer;

/// Log probabilities asked for, and those seen.
#[derive(Debug)]
pub(crate) struct Logprobs {
    top: usize,
    tokens: Vec<Seen>,
    /// As many for each of these, best first.
    alternatives: Vec<(u32, f32)>,
}

/// What stands at a place, and what it was worth there.
#[derive(Debug, Clone, Copy)]
struct Seen {
    id: u32,
    logprob: f32,
    rank: u32,
}

impl Logprobs {
    /// The `top` most probable tokens beside each of at most `tokens_max`.
    pub(crate) fn new(top: usize, tokens_max: usize) -> Logprobs {
        /// Tokens to make room for at once; longer texts grow.
        const EXPECTED_MAX: usize = 1024;

        let expected = tokens_max.min(EXPECTED_MAX);
        Logprobs { top, tokens: Vec::with_capacity(expected), alternatives: Vec::with_capacity((expected + 1) * top) }
    }

    /// Tokens seen so far.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Notes the token that stands where these logits lead, before temperature, biases and penalties.
    pub(crate) fn record(&mut self, logits: &[f32], token: u32) {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
        let logprob = |id: u32| (f64::from(logits[id as usize] - highest) - total.ln()) as f32;
        let own = logits[token as usize];
        let above = logits.iter().zip(0..).filter(|&(logit, id)| *logit > own || *logit == own && id < token).count();
        self.tokens.push(Seen { id: token, logprob: logprob(token), rank: above as u32 + 1 });
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
        let per_token = self.alternatives.len() / self.tokens.len().max(1);
        let entry = |(index, Seen { id, logprob, rank }): (usize, Seen)| {
            let top = &self.alternatives[index * per_token..(index + 1) * per_token];
            let top = top.iter().map(|&(id, logprob)| TopLogprob { token: text(id), id, bytes: bytes(id), logprob });
            TokenLogprob { token: text(id), id, bytes: bytes(id), logprob, rank, top: top.collect() }
        };
        self.tokens.iter().copied().enumerate().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_add_up_to_one() {
        let mut logprobs = Logprobs::new(3, 1);
        logprobs.record(&[0.0, 2f32.ln(), 5f32.ln()], 0);
        assert!((logprobs.tokens[0].logprob - (1f32 / 8.0).ln()).abs() < 1e-6);
        assert_eq!(logprobs.alternatives.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 1, 0]);
        assert!((logprobs.alternatives.iter().map(|(_, logprob)| logprob.exp()).sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_lower_id_comes_first_among_equals() {
        let mut logprobs = Logprobs::new(2, 2);
        logprobs.record(&[1.0, 3.0, 3.0, 3.0], 3);
        logprobs.record(&[4.0, 3.0, 2.0, 3.0], 0);
        assert_eq!(logprobs.alternatives.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2, 0, 1]);
        assert_eq!(logprobs.tokens.iter().map(|seen| seen.rank).collect::<Vec<_>>(), [3, 1]);
    }
}
