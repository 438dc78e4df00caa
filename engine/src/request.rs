//! What goes into the engine and what comes out. How a request lives in between is in `sequence.rs`.

use serde::Serialize;
use serde_json::{Map, Value};

/// One generation to run.
#[derive(Debug, Clone)]
pub struct Request {
    pub prompt: Prompt,
    /// None: as many as the context leaves.
    pub max_tokens: Option<u32>,
    /// No end-of-sequence, stop id or stop string ends the answer before this many tokens.
    pub min_tokens: u32,
    pub sampling: Sampling,
    /// The answer ends before the first of these; a reasoning section is not searched.
    pub stop: Vec<String>,
    pub stop_token_ids: Vec<u32>,
    pub ignore_eos: bool,
    /// Reasoning is closed after this many tokens.
    pub reasoning_tokens_max: Option<u32>,
    /// Report the log probability of each token and of this many alternatives.
    pub logprobs: Option<u8>,
    /// The same for the tokens of the prompt, after those before them. The request then reads its whole prompt itself, in small pieces.
    pub prompt_logprobs: Option<u8>,
    /// What the text after any reasoning must look like. Only this format and the length then end the answer.
    pub format: Option<Format>,
    pub tools: Tools,
    /// What the chat template is told; only `enable_thinking`, `thinking` and `date_string` are let through.
    pub template_arguments: Map<String, Value>,
}

impl Request {
    /// A request with every setting at its default.
    pub fn new(prompt: Prompt) -> Request {
        Request {
            prompt,
            max_tokens: None,
            min_tokens: 0,
            sampling: Sampling::default(),
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            reasoning_tokens_max: None,
            logprobs: None,
            prompt_logprobs: None,
            format: None,
            tools: Tools::default(),
            template_arguments: Map::new(),
        }
    }
}

/// What the model continues.
#[derive(Debug, Clone)]
pub enum Prompt {
    /// Rendered with the model's chat template; the answer is split into reasoning and text.
    Chat(Vec<Message>),
    Text(String),
    Tokens(Vec<u32>),
}

/// One turn of a chat, in the field names that chat templates read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Message {
    pub role: String,
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// The form of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    JsonObject,
    /// A JSON Schema; keywords that cannot be kept are refused.
    JsonSchema(Value),
    /// The whole text matches; the syntax is that of Rust's `regex`.
    Regex(String),
    /// The text is one of these.
    Choice(Vec<String>),
    /// What this grammar in the Lark dialect of llguidance derives.
    Grammar(String),
}

/// Functions that the model may ask its caller to run.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    /// As the template reads them: `{"type": "function", "function": {"name", "description", "parameters"}}`.
    pub definitions: Vec<Value>,
    pub choice: ToolChoice,
}

/// Whether a tool is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    #[default]
    Auto,
    /// One of the tools, and nothing else.
    Required,
    Named(String),
}

/// A call that the model asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

/// How the next token is drawn. None takes what `generation_config.json` says, else the neutral value.
#[derive(Debug, Clone, Default)]
pub struct Sampling {
    /// 0 takes the most probable token.
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    /// 0 keeps all tokens.
    pub top_k: Option<u32>,
    pub min_p: Option<f32>,
    /// Divides the odds of what prompt and answer hold already; 1 changes nothing.
    pub repetition_penalty: Option<f32>,
    /// Taken off a logit for each time its token stands in the answer.
    pub frequency_penalty: Option<f32>,
    /// Taken off a logit whose token stands in the answer.
    pub presence_penalty: Option<f32>,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed and request give the same tokens; None takes the request's id.
    pub seed: Option<u64>,
}

/// Why a request cannot run; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: &'static str,
    pub param: Option<&'static str>,
    pub message: String,
}

impl Refusal {
    pub(crate) fn invalid(param: &'static str, message: String) -> Refusal {
        Refusal { code: "invalid_value", param: Some(param), message }
    }
}

/// A request that has left the engine.
#[derive(Debug, Clone)]
pub struct Finished {
    pub id: u64,
    pub outcome: Result<Completion, Failure>,
}

/// Why a request that was running could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: &'static str,
    pub message: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The answer without reasoning, special tokens and the stop that ended it.
    pub text: String,
    /// The think section, where the model wrote one.
    pub reasoning: Option<String>,
    /// The tools to call; they are no part of the text.
    pub tool_calls: Vec<ToolCall>,
    /// Every token sampled, in order, the one that ended the answer included.
    pub token_ids: Vec<u32>,
    pub prompt_token_ids: Vec<u32>,
    pub finish_reason: FinishReason,
    pub usage: Usage,
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// For all tokens of the prompt but the first, which stands after nothing.
    pub prompt_logprobs: Option<Vec<TokenLogprob>>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
}

/// Tokens counted; cached is part of prompt, reasoning is part of completion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt: u32,
    pub cached: u32,
    pub completion: u32,
    pub reasoning: u32,
}

/// The log probability of one token of an answer or a prompt, before temperature and truncation.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    pub token: String,
    pub id: u32,
    pub bytes: Vec<u8>,
    pub logprob: f32,
    /// 1 for the most probable token at this place; among equals the lower id comes first.
    pub rank: u32,
    /// The most probable tokens at this place, best first.
    pub top: Vec<TopLogprob>,
}

/// An alternative at the place of a token.
#[derive(Debug, Clone, PartialEq)]
pub struct TopLogprob {
    pub token: String,
    pub id: u32,
    pub bytes: Vec<u8>,
    pub logprob: f32,
}
