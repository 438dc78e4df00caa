//! Between the domain's words and the engine's. The engine knows nothing of the wire contract, the contract nothing of tensors.

use std::iter;

use domain::{
    answer::{Answer, Choice, Finish, RankedToken, TokenLogprob, ToolCall},
    error::ApiError,
    request::{Format, Message, Prompt, Request, ToolChoice, Tools},
    usage::Usage,
};
use serde_json::{Map, Value};

/// The request for one choice: what it would be for a request of its own whose seed is higher by the choice's index.
pub(super) fn request(request: Request, index: u32) -> engine::Request {
    let wish = request.generation;
    engine::Request {
        prompt: match request.prompt {
            Prompt::Chat(messages) => engine::Prompt::Chat(messages.into_iter().map(message).collect()),
            Prompt::Text(text) => engine::Prompt::Text(text),
            Prompt::Tokens(ids) => engine::Prompt::Tokens(ids),
        },
        max_tokens: wish.max_tokens,
        min_tokens: wish.min_tokens,
        sampling: engine::Sampling {
            temperature: wish.temperature,
            top_p: wish.top_p,
            top_k: wish.top_k,
            min_p: wish.min_p,
            repetition_penalty: wish.repetition_penalty,
            frequency_penalty: wish.frequency_penalty,
            presence_penalty: wish.presence_penalty,
            logit_bias: wish.logit_bias,
            seed: wish.seed.map(|seed| seed.wrapping_add(u64::from(index))),
        },
        stop: wish.stop,
        stop_token_ids: wish.stop_token_ids,
        ignore_eos: wish.ignore_eos,
        reasoning_tokens_max: wish.thinking_tokens_max,
        logprobs: wish.logprobs,
        // Choices share a prompt.
        prompt_logprobs: wish.prompt_logprobs.filter(|_| index == 0),
        format: wish.format.map(format),
        tools: tools(wish.tools),
        template_arguments: template_arguments(wish.thinking, wish.date_string),
    }
}

fn message(message: Message) -> engine::Message {
    engine::Message {
        role: message.role.name().to_owned(),
        content: Some(message.content),
        reasoning_content: message.reasoning_content,
        name: message.name,
        tool_calls: message.tool_calls,
        tool_call_id: message.tool_call_id,
    }
}

fn format(format: Format) -> engine::Format {
    match format {
        Format::JsonObject => engine::Format::JsonObject,
        Format::JsonSchema(schema) => engine::Format::JsonSchema(schema),
        Format::Regex(expression) => engine::Format::Regex(expression),
        Format::Choice(choices) => engine::Format::Choice(choices),
    }
}

fn tools(tools: Tools) -> engine::Tools {
    let choice = match tools.choice {
        ToolChoice::Auto => engine::ToolChoice::Auto,
        ToolChoice::Required => engine::ToolChoice::Required,
        ToolChoice::Named(name) => engine::ToolChoice::Named(name),
    };
    engine::Tools { definitions: tools.definitions, choice }
}

/// Families spell the switch differently; a template reads the one that it knows.
fn template_arguments(thinking: Option<bool>, date: Option<String>) -> Map<String, Value> {
    let switches = thinking.into_iter().flat_map(|wanted| ["enable_thinking", "thinking"].map(|name| (name, Value::Bool(wanted))));
    let date = date.map(|date| ("date_string", Value::String(date)));
    switches.chain(date).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A request that this model cannot run; trying again changes nothing.
pub(super) fn refusal(refusal: engine::Refusal) -> ApiError {
    let error = ApiError::invalid(refusal.code, refusal.message);
    match refusal.param {
        Some(param) => error.param(param),
        None => error,
    }
}

/// A request that the engine gave up.
pub(super) fn failure(failure: &engine::Failure) -> ApiError {
    tracing::error!(code = failure.code, "the engine gave a request up: {failure}");
    ApiError::server()
}

/// The answer with these choices. They share a prompt, and the first tells what there is to say of it.
pub(super) fn answer(mut completions: Vec<engine::Completion>) -> Answer {
    let mut usage = Usage::default();
    let mut prompt_token_ids = Vec::new();
    let mut prompt_logprobs = None;
    if let Some(first) = completions.first_mut() {
        (usage.prompt, usage.cached) = (first.usage.prompt.into(), first.usage.cached.into());
        prompt_token_ids = std::mem::take(&mut first.prompt_token_ids);
        prompt_logprobs = first.prompt_logprobs.take().map(|tokens| tokens.into_iter().map(ranked).collect());
    }
    for completion in &completions {
        usage.completion += u64::from(completion.usage.completion);
        usage.reasoning += u64::from(completion.usage.reasoning);
    }
    Answer { choices: completions.into_iter().map(choice).collect(), prompt_token_ids, prompt_logprobs, usage }
}

fn choice(completion: engine::Completion) -> Choice {
    Choice {
        text: completion.text,
        reasoning: completion.reasoning,
        finish: match completion.finish_reason {
            engine::FinishReason::Stop if !completion.tool_calls.is_empty() => Finish::ToolCalls,
            engine::FinishReason::Stop => Finish::Stop,
            engine::FinishReason::Length => Finish::Length,
        },
        tool_calls: completion.tool_calls.into_iter().map(|call| ToolCall { name: call.name, arguments: call.arguments }).collect(),
        token_ids: completion.token_ids,
        logprobs: completion.logprobs.map(|tokens| tokens.into_iter().map(logprob).collect()),
    }
}

fn logprob(token: engine::TokenLogprob) -> TokenLogprob {
    TokenLogprob {
        token: token.token,
        bytes: token.bytes,
        logprob: token.logprob,
        top: token.top.into_iter().map(|other| (other.token, other.bytes, other.logprob)).collect(),
    }
}

/// The token that stands in the prompt, then the likeliest.
fn ranked(token: engine::TokenLogprob) -> Vec<RankedToken> {
    let own = RankedToken { id: token.id, token: token.token, logprob: token.logprob, rank: token.rank };
    let top = (1..).zip(token.top).map(|(rank, other)| RankedToken { id: other.id, token: other.token, logprob: other.logprob, rank });
    iter::once(own).chain(top).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::request::Endpoint;
    use serde_json::json;

    #[test]
    fn every_wish_reaches_the_engine() {
        let body = br#"{"model":"m","messages":[{"role":"developer","content":"be short"},{"role":"user","content":"hi"}],
            "max_completion_tokens":7,"min_tokens":2,"temperature":0.5,"top_p":0.9,"top_k":3,"min_p":0.1,"seed":11,"stop":"x",
            "stop_token_ids":[4],"ignore_eos":true,"repetition_penalty":1.5,"frequency_penalty":0.5,"presence_penalty":-0.5,
            "logit_bias":{"7":-100},"thinking_token_budget":50,"response_format":{"type":"json_object"},"logprobs":true,"top_logprobs":2,"prompt_logprobs":4,
            "reasoning_effort":"none","chat_template_kwargs":{"date_string":"02 Jan 2026"}}"#;
        let wish = Request::parse(Endpoint::ChatCompletions, body).unwrap();
        assert_eq!(request(wish.clone(), 1).prompt_logprobs, None);
        let engine = request(wish, 0);
        assert_eq!(engine.prompt_logprobs, Some(4));
        let engine::Prompt::Chat(messages) = engine.prompt else { panic!("not a chat") };
        assert_eq!(messages.iter().map(|message| message.role.as_str()).collect::<Vec<_>>(), ["system", "user"]);
        assert_eq!((engine.max_tokens, engine.min_tokens, engine.ignore_eos, engine.logprobs), (Some(7), 2, true, Some(2)));
        assert_eq!((engine.sampling.temperature, engine.sampling.top_p, engine.sampling.top_k), (Some(0.5), Some(0.9), Some(3)));
        assert_eq!((engine.sampling.min_p, engine.sampling.seed), (Some(0.1), Some(11)));
        assert_eq!((engine.sampling.repetition_penalty, engine.sampling.frequency_penalty), (Some(1.5), Some(0.5)));
        assert_eq!((engine.sampling.presence_penalty, engine.sampling.logit_bias), (Some(-0.5), vec![(7, -100.0)]));
        assert_eq!((engine.reasoning_tokens_max, engine.format), (Some(50), Some(engine::Format::JsonObject)));
        assert_eq!((engine.stop, engine.stop_token_ids), (vec!["x".to_owned()], vec![4]));
        assert_eq!(
            (&engine.template_arguments["enable_thinking"], &engine.template_arguments["date_string"]),
            (&json!(false), &json!("02 Jan 2026"))
        );
    }

    #[test]
    fn a_refusal_becomes_a_400_that_names_the_field() {
        let refusal = engine::Refusal { code: "context_length_exceeded", param: Some("messages"), message: "too long".into() };
        let error = super::refusal(refusal);
        assert_eq!((error.status, error.code, error.param.as_deref()), (400, "context_length_exceeded", Some("messages")));
    }
}
