//! What is known about a model without having it loaded: enough to validate and to estimate.

use serde_json::{Value, json};

use crate::request::Generation;

/// A row of the `models` table, written by `migrate` for the shipped model and by each worker at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub name: String,
    /// Tokens of prompt and answer together.
    pub context_length: u32,
    /// Bytes of text per token, for estimates before anything is tokenised.
    pub bytes_per_token: f32,
    /// Measured generation rate of one worker, tokens per second; none until a worker has measured it.
    pub tokens_per_s: Option<f32>,
    /// Unix seconds of the first registration.
    pub created_at: i64,
}

impl Model {
    /// Estimated cost in tokens: the body as prompt, once, and as many new tokens as were asked for, for each choice.
    pub fn estimate(&self, body_bytes: usize, wish: &Generation) -> u64 {
        let prompt = (body_bytes as f32 / self.bytes_per_token.max(0.25)).ceil() as u64;
        let answer = wish.max_tokens.unwrap_or(DEFAULT_ANSWER_TOKENS).min(self.context_length);
        prompt + u64::from(answer) * u64::from(wish.choices)
    }

    /// The object of `GET /v1/models/{id}`; `ready` tells whether a live worker serves it.
    pub fn to_json(&self, ready: bool) -> Value {
        json!({
            "id": self.name, "object": "model", "created": self.created_at, "owned_by": "millrace",
            "millrace": { "state": if ready { "ready" } else { "offline" }, "context_length": self.context_length },
        })
    }
}

/// Assumed length of an answer whose request names no limit.
const DEFAULT_ANSWER_TOKENS: u32 = 256;
