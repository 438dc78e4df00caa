//! The body of a request, parsed once at the edge: everything inside works with these types.

mod format;
mod tools;

use serde_json::Value;

pub use format::Format;
pub use tools::{ToolChoice, Tools};

use super::Endpoint;
use crate::{
    error::ApiError,
    fields::{Fields, token_ids},
    limits::CHOICES_MAX,
};

/// A request whose shape is right. What only the model can judge (context length, token ids) is left to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub endpoint: Endpoint,
    pub model: String,
    pub prompt: Prompt,
    pub generation: Generation,
    /// Unknown keys of the body, for `x-millrace-ignored-params`.
    pub ignored: Vec<String>,
}

/// What the model reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    Chat(Vec<Message>),
    Text(String),
    Tokens(Vec<u32>),
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub content: String,
    /// Calls that the assistant asked for, and the call that a tool's message answers.
    pub tool_calls: Option<Value>,
    pub tool_call_id: Option<String>,
    pub name: Option<String>,
    /// Earlier reasoning, which templates may use or drop.
    pub reasoning_content: Option<String>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

impl Role {
    /// The name that chat templates know.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// How the answer is generated. `None` leaves the choice to the model's own defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// How many answers, `n` on the wire; at least one.
    pub choices: u32,
    pub max_tokens: Option<u32>,
    pub min_tokens: u32,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<u32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    /// Token ids with what is added to their logits.
    pub logit_bias: Vec<(u32, f32)>,
    pub seed: Option<u64>,
    pub stop: Vec<String>,
    pub stop_token_ids: Vec<u32>,
    pub ignore_eos: bool,
    /// Number of alternatives beside each chosen token; `Some(0)` gives the chosen token alone.
    pub logprobs: Option<u8>,
    /// The same for the tokens of the prompt.
    pub prompt_logprobs: Option<u8>,
    pub return_token_ids: bool,
    /// The form that the answer must have.
    pub format: Option<Format>,
    pub tools: Tools,
    /// Whether the model should think first; `None` is the template's default.
    pub thinking: Option<bool>,
    /// Tokens after which the reasoning is closed.
    pub thinking_tokens_max: Option<u32>,
    /// The date that the template names, if it names one.
    pub date_string: Option<String>,
}

const MODEL_BYTES_MAX: usize = 256;
const DATE_BYTES_MAX: usize = 64;
const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 256;
const TOP_LOGPROBS_MAX: i64 = 20;
const LOGIT_BIAS_MAX: usize = 1024;
const PROMPT_TOKENS_MAX: usize = 1 << 20;

/// Parameters that cannot change the answer here: accepted and without effect.
const WITHOUT_EFFECT: [&str; 11] = [
    "user",
    "metadata",
    "store",
    "safety_identifier",
    "prompt_cache_key",
    "verbosity",
    "service_tier",
    "parallel_tool_calls",
    "stream_options",
    "skip_special_tokens",
    "prompt_cache_retention",
];

/// Parameters that would change the answer and are not implemented, with the value at which they change nothing.
const NOT_IMPLEMENTED: [(&str, Option<Neutral>); 12] = [
    ("stream", Some(Neutral::False)),
    ("echo", Some(Neutral::False)),
    ("suffix", None),
    ("functions", Some(Neutral::Empty)),
    ("include_stop_str_in_output", Some(Neutral::False)),
    ("allowed_token_ids", None),
    ("bad_words", Some(Neutral::Empty)),
    ("truncate_prompt_tokens", None),
    ("chat_template", None),
    ("audio", None),
    ("modalities", None),
    ("web_search_options", None),
];

/// A value of a parameter that is as good as its absence.
enum Neutral {
    False,
    Empty,
}

impl Neutral {
    fn matches(&self, value: &Value) -> bool {
        match self {
            Self::False => value == &Value::Bool(false),
            Self::Empty => value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty),
        }
    }
}

impl Request {
    /// Parses the JSON text of a body.
    pub fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        refuse_unimplemented(&mut fields)?;
        let model = model(&mut fields)?;
        let prompt = match endpoint {
            Endpoint::ChatCompletions => Prompt::Chat(messages(&mut fields)?),
            Endpoint::Completions => text_or_tokens(&mut fields)?,
        };
        let generation = generation(endpoint, &mut fields)?;
        for name in WITHOUT_EFFECT {
            fields.take(name);
        }
        let ignored = fields.left_over().cloned().collect();
        Ok(Self { endpoint, model, prompt, generation, ignored })
    }
}

fn refuse_unimplemented(fields: &mut Fields) -> Result<(), ApiError> {
    for (name, neutral) in &NOT_IMPLEMENTED {
        if let Some(value) = fields.take(name)
            && !neutral.as_ref().is_some_and(|neutral| neutral.matches(&value))
        {
            return Err(ApiError::unsupported(*name, format!("`{name}` with this value is not supported")));
        }
    }
    Ok(())
}

fn model(fields: &mut Fields) -> Result<String, ApiError> {
    let name = fields.required_string("model")?;
    // A control character can be part of no name, and a NUL not even of a question to the database.
    if (1..=MODEL_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control) {
        Ok(name)
    } else {
        Err(fields.wrong("model", &format!("must have from 1 to {MODEL_BYTES_MAX} bytes and no control characters")))
    }
}

fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    match fields.take("messages") {
        None => Err(ApiError::missing("messages")),
        Some(Value::Array(list)) if !list.is_empty() => list.into_iter().enumerate().map(|(index, value)| message(index, value)).collect(),
        Some(_) => Err(ApiError::invalid_value("messages", "`messages` must be a list with at least one message")),
    }
}

fn message(index: usize, value: Value) -> Result<Message, ApiError> {
    let mut fields = Fields::of(value, &format!("messages[{index}]"))?;
    let role = match fields.required_string("role")?.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => return Err(fields.wrong("role", "must be one of developer, system, user, assistant, tool")),
    };
    let tool_calls = tools::calls(&mut fields)?;
    let tool_call_id = fields.string("tool_call_id")?;
    let name = fields.string("name")?;
    let reasoning_content = fields.string("reasoning_content")?;
    let content = match fields.take("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => text_of_parts(&fields, parts)?,
        None if role == Role::Assistant => String::new(),
        _ => return Err(fields.wrong("content", "must be a string or a list of text parts")),
    };
    Ok(Message { role, content, tool_calls, tool_call_id, name, reasoning_content })
}

fn text_of_parts(fields: &Fields, parts: Vec<Value>) -> Result<String, ApiError> {
    parts
        .iter()
        .enumerate()
        .map(|(index, part)| match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
            (Some("text"), Some(text)) => Ok(text),
            _ => Err(ApiError::unsupported(fields.param(&format!("content[{index}]")), "only parts of type `text` are supported")),
        })
        .collect()
}

fn text_or_tokens(fields: &mut Fields) -> Result<Prompt, ApiError> {
    match fields.take("prompt") {
        None => Err(ApiError::missing("prompt")),
        Some(Value::String(text)) => Ok(Prompt::Text(text)),
        // A list with one prompt is that prompt; several prompts in one call would be several requests.
        Some(Value::Array(mut list)) if list.len() == 1 && !list[0].is_number() => {
            let inner = list.remove(0);
            match (inner.as_str(), token_ids(&inner)) {
                (Some(text), _) => Ok(Prompt::Text(text.to_owned())),
                (None, Some(ids)) => tokens(ids),
                _ => Err(prompt_shape()),
            }
        }
        Some(value) => tokens(token_ids(&value).ok_or_else(prompt_shape)?),
    }
}

fn tokens(ids: Vec<u32>) -> Result<Prompt, ApiError> {
    if ids.is_empty() || ids.len() > PROMPT_TOKENS_MAX {
        return Err(ApiError::invalid_value("prompt", format!("`prompt` must hold from 1 to {PROMPT_TOKENS_MAX} token ids")));
    }
    Ok(Prompt::Tokens(ids))
}

fn prompt_shape() -> ApiError {
    ApiError::invalid_value("prompt", "`prompt` must be one string or one list of token ids; send several prompts as several requests")
}

fn generation(endpoint: Endpoint, fields: &mut Fields) -> Result<Generation, ApiError> {
    let old_limit = fields.count("max_tokens", 1)?;
    let (switch, date_string) = template_arguments(fields)?;
    let (thinking, thinking_tokens_max) = thinking(switch, fields)?;
    Ok(Generation {
        choices: choices(fields)?,
        max_tokens: fields.count("max_completion_tokens", 1)?.or(old_limit),
        min_tokens: fields.count("min_tokens", 0)?.unwrap_or(0),
        temperature: fields.number("temperature", 0.0, 2.0)?,
        top_p: fields.number("top_p", 0.0, 1.0)?,
        repetition_penalty: fields.number("repetition_penalty", 0.01, 100.0)?,
        frequency_penalty: fields.number("frequency_penalty", -2.0, 2.0)?,
        presence_penalty: fields.number("presence_penalty", -2.0, 2.0)?,
        logit_bias: logit_bias(fields)?,
        // vLLM writes "no limit" as -1 or 0.
        top_k: fields.integer("top_k", -1, i64::from(u32::MAX))?.filter(|&k| k > 0).map(|k| k as u32),
        min_p: fields.number("min_p", 0.0, 1.0)?,
        seed: fields.integer("seed", i64::MIN, i64::MAX)?.map(|seed| seed as u64),
        stop: stop(fields)?,
        stop_token_ids: fields.token_ids("stop_token_ids", STOPS_MAX)?.unwrap_or_default(),
        ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
        logprobs: logprobs(endpoint, fields)?,
        prompt_logprobs: fields.integer("prompt_logprobs", 0, TOP_LOGPROBS_MAX)?.map(|top| top as u8),
        return_token_ids: fields.boolean("return_token_ids")?.unwrap_or(false),
        format: format::format(fields)?,
        tools: tools::tools(fields)?,
        thinking,
        thinking_tokens_max,
        date_string,
    })
}

/// `best_of` chooses among more answers than it gives; as many as `n` leave nothing to choose.
fn choices(fields: &mut Fields) -> Result<u32, ApiError> {
    let choices = fields.integer("n", 1, i64::from(CHOICES_MAX))?.map_or(1, |n| n as u32);
    match fields.take("best_of") {
        Some(best_of) if best_of.as_f64() != Some(f64::from(choices)) => {
            Err(ApiError::unsupported("best_of", format!("`best_of` is not supported with another value than that of `n`, here {choices}")))
        }
        _ => Ok(choices),
    }
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let rule = format!("must be a string or a list of at most {STOPS_MAX} non-empty strings of at most {STOP_BYTES_MAX} bytes");
    let stops = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => {
            let texts: Option<Vec<String>> = list.iter().map(|value| value.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(|| fields.wrong("stop", &rule))?
        }
        Some(_) => return Err(fields.wrong("stop", &rule)),
    };
    let fits = stops.len() <= STOPS_MAX && stops.iter().all(|text| (1..=STOP_BYTES_MAX).contains(&text.len()));
    if fits { Ok(stops) } else { Err(fields.wrong("stop", &rule)) }
}

/// `{"token id": bias}`, in the order of the ids.
fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(value) = fields.take("logit_bias") else { return Ok(Vec::new()) };
    let entry = |(id, bias): (&String, &Value)| {
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias))?;
        Some((id.parse().ok()?, bias as f32))
    };
    let biases = value.as_object().and_then(|map| map.iter().map(entry).collect::<Option<Vec<(u32, f32)>>>());
    match biases.filter(|biases| biases.len() <= LOGIT_BIAS_MAX) {
        Some(mut biases) => {
            biases.sort_unstable_by_key(|(id, _)| *id);
            Ok(biases)
        }
        None => Err(fields.wrong("logit_bias", &format!("must map at most {LOGIT_BIAS_MAX} token ids to numbers from -100 to 100"))),
    }
}

fn logprobs(endpoint: Endpoint, fields: &mut Fields) -> Result<Option<u8>, ApiError> {
    match endpoint {
        Endpoint::ChatCompletions => {
            let wanted = fields.boolean("logprobs")?.unwrap_or(false);
            let top = fields.integer("top_logprobs", 0, TOP_LOGPROBS_MAX)?;
            match (wanted, top) {
                (false, Some(_)) => Err(fields.wrong("top_logprobs", "needs `logprobs: true`")),
                (false, None) => Ok(None),
                (true, top) => Ok(Some(top.unwrap_or(0) as u8)),
            }
        }
        Endpoint::Completions => Ok(fields.integer("logprobs", 0, TOP_LOGPROBS_MAX)?.map(|top| top as u8)),
    }
}

/// vLLM's way to speak to the template: whether to think, and the date.
fn template_arguments(fields: &mut Fields) -> Result<(Option<bool>, Option<String>), ApiError> {
    let Some(arguments) = fields.take("chat_template_kwargs") else { return Ok((None, None)) };
    let mut arguments = Fields::of(arguments, "chat_template_kwargs")?;
    let mut switch = None;
    for name in ["enable_thinking", "thinking"] {
        switch = arguments.boolean(name)?.or(switch);
    }
    let date = arguments.string("date_string")?;
    if date.as_ref().is_some_and(|date| date.len() > DATE_BYTES_MAX) {
        return Err(arguments.wrong("date_string", &format!("must have at most {DATE_BYTES_MAX} bytes")));
    }
    match arguments.left_over().next() {
        Some(name) => Err(ApiError::unsupported(arguments.param(name), format!("template argument `{name}` is not allowed"))),
        None => Ok((switch, date)),
    }
}

/// Three spellings of the same wish: the template's switch, DeepSeek's `thinking`, OpenAI's `reasoning_effort`; and two of a budget.
fn thinking(switch: Option<bool>, fields: &mut Fields) -> Result<(Option<bool>, Option<u32>), ApiError> {
    let mut wish = switch;
    let mut tokens_max = fields.count("thinking_token_budget", 0)?;
    if let Some(thinking) = fields.take("thinking") {
        let mut thinking = Fields::of(thinking, "thinking")?;
        tokens_max = thinking.count("budget_tokens", 0)?.or(tokens_max);
        wish = match thinking.required_string("type")?.as_str() {
            "enabled" => Some(true),
            "disabled" => Some(false),
            _ => return Err(thinking.wrong("type", "must be `enabled` or `disabled`")),
        };
    }
    let by_effort = match fields.string("reasoning_effort")?.as_deref() {
        None => None,
        Some("none") => Some(false),
        Some("minimal" | "low" | "medium" | "high" | "xhigh" | "max") => Some(true),
        Some(_) => return Err(fields.wrong("reasoning_effort", "must be one of none, minimal, low, medium, high, xhigh, max")),
    };
    Ok((wish.or(by_effort), tokens_max))
}

#[cfg(test)]
mod tests;
