//! What a request changes about the logits before a token is drawn: biases, and penalties on what is there already.

use super::{Place, in_range};
use crate::request::{Refusal, Sampling};

/// Checked biases and penalties.
#[derive(Debug, Clone)]
pub(super) struct Adjustments {
    bias: Vec<(u32, f32)>,
    /// Divides positive logits of tokens in prompt or answer and multiplies negative ones; 1 changes nothing.
    repetition: f32,
    /// Taken off once for each time a token stands in the answer.
    frequency: f32,
    /// Taken off once if a token stands in the answer.
    presence: f32,
}

impl Adjustments {
    pub(super) fn new(asked: &Sampling) -> Result<Adjustments, Refusal> {
        if let Some((id, bias)) = asked.logit_bias.iter().find(|(_, bias)| !bias.is_finite()) {
            return Err(Refusal::invalid("logit_bias", format!("the bias of token {id} is {bias}")));
        }
        Ok(Adjustments {
            bias: asked.logit_bias.clone(),
            repetition: in_range("repetition_penalty", asked.repetition_penalty.unwrap_or(1.0), 0.01, 100.0)?,
            frequency: in_range("frequency_penalty", asked.frequency_penalty.unwrap_or(0.0), -2.0, 2.0)?,
            presence: in_range("presence_penalty", asked.presence_penalty.unwrap_or(0.0), -2.0, 2.0)?,
        })
    }

    /// The adjusted logits: the same slice where nothing is adjusted, else a copy in `copy`. `counts` is all zeros between calls.
    pub(super) fn apply<'a>(&self, logits: &'a [f32], place: Place, copy: &'a mut Vec<f32>, counts: &mut Vec<u32>) -> &'a [f32] {
        let repeats = self.repetition != 1.0;
        let counted = self.frequency != 0.0 || self.presence != 0.0;
        if self.bias.is_empty() && !repeats && !counted {
            return logits;
        }
        copy.clear();
        copy.extend_from_slice(logits);
        counts.resize(counts.len().max(logits.len()), 0);
        for (id, bias) in &self.bias {
            copy[*id as usize] += bias;
        }
        if repeats {
            self.punish_repetition(copy, place.tokens, counts);
        }
        if counted {
            self.punish_frequency(copy, &place.tokens[place.prompt_tokens..], counts);
        }
        copy
    }

    fn punish_repetition(&self, logits: &mut [f32], tokens: &[u32], seen: &mut [u32]) {
        for id in tokens.iter().map(|id| *id as usize) {
            if std::mem::replace(&mut seen[id], 1) == 0 {
                logits[id] = if logits[id] > 0.0 { logits[id] / self.repetition } else { logits[id] * self.repetition };
            }
        }
        tokens.iter().for_each(|id| seen[*id as usize] = 0);
    }

    fn punish_frequency(&self, logits: &mut [f32], answer: &[u32], counts: &mut [u32]) {
        answer.iter().for_each(|id| counts[*id as usize] += 1);
        for id in answer.iter().map(|id| *id as usize) {
            let count = std::mem::take(&mut counts[id]);
            if count > 0 {
                logits[id] -= self.frequency * count as f32 + self.presence;
            }
        }
    }
}
