//! What a model gave back, and how it reads on the wire: the body of a single answer and the line of a result file.

use serde_json::{Value, json};

use crate::{
    error::ApiError,
    id::RequestId,
    request::{Endpoint, State},
    usage::Usage,
};

/// A model's answer to one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub text: String,
    /// The think section, if the model wrote one.
    pub reasoning: Option<String>,
    /// Functions that the caller is asked to run.
    pub tool_calls: Vec<ToolCall>,
    pub finish: Finish,
    pub usage: Usage,
    pub prompt_token_ids: Vec<u32>,
    pub token_ids: Vec<u32>,
    /// One entry a generated token, if asked for.
    pub logprobs: Option<Vec<TokenLogprob>>,
}

/// A function to run, with its arguments as JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    pub name: String,
    pub arguments: String,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    #[default]
    Stop,
    Length,
    ToolCalls,
}

/// A chosen token, its log probability (natural), and the likeliest alternatives.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    pub token: String,
    pub bytes: Vec<u8>,
    pub logprob: f32,
    pub top: Vec<(String, Vec<u8>, f32)>,
}

/// How a request ended, ready to be stored: the exact bytes that its owner will read.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub state: State,
    pub status: u16,
    pub body: String,
    pub usage: Usage,
}

impl Outcome {
    /// A 200 with the answer as the endpoint's object. `created` is in Unix seconds.
    pub fn answered(id: RequestId, endpoint: Endpoint, model: &str, created: i64, return_token_ids: bool, answer: &Answer) -> Self {
        let body = match endpoint {
            Endpoint::ChatCompletions => chat_choice(id, answer),
            Endpoint::Completions => text_choice(answer),
        };
        let mut choice = body;
        if return_token_ids {
            choice["token_ids"] = json!(answer.token_ids);
        }
        let mut object = json!({
            "id": id.prefixed(endpoint.id_prefix()), "object": endpoint.object(), "created": created, "model": model,
            "system_fingerprint": null, "choices": [choice], "usage": answer.usage.of_completion(),
        });
        if endpoint == Endpoint::ChatCompletions {
            object["service_tier"] = json!("default");
        }
        if return_token_ids {
            object["prompt_token_ids"] = json!(answer.prompt_token_ids);
        }
        Self { state: State::Succeeded, status: 200, body: object.to_string(), usage: answer.usage }
    }

    /// An error status with its envelope; nothing is charged.
    pub fn refused(error: &ApiError) -> Self {
        Self { state: State::Failed, status: error.status, body: error.envelope().to_string(), usage: Usage::default() }
    }

    /// The line of the output or error file for this outcome.
    pub fn line(&self, id: RequestId, custom_id: &str) -> String {
        format!(
            r#"{{"id":"{}","custom_id":{},"response":{{"status_code":{},"request_id":"{id}","body":{}}},"error":null}}"#,
            id.batch_line(),
            Value::from(custom_id),
            self.status,
            self.body
        )
    }
}

/// The line of the error file for a request that never got an answer.
pub fn line_without_answer(id: RequestId, custom_id: &str, state: State) -> String {
    let (code, message) = match state {
        State::Expired => ("batch_expired", "This request could not be executed before the completion window expired."),
        _ => ("batch_cancelled", "This request was not executed because the batch was cancelled."),
    };
    json!({ "id": id.batch_line(), "custom_id": custom_id, "response": null, "error": { "code": code, "message": message } }).to_string()
}

impl Finish {
    /// The `finish_reason` on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

fn chat_choice(id: RequestId, answer: &Answer) -> Value {
    let mut message = json!({ "role": "assistant", "content": answer.text, "refusal": null });
    if !answer.tool_calls.is_empty() {
        let call = |(index, call): (usize, &ToolCall)| {
            let function = json!({ "name": call.name, "arguments": call.arguments });
            json!({ "id": id.prefixed(&format!("call_{index}_")), "type": "function", "function": function })
        };
        message["tool_calls"] = answer.tool_calls.iter().enumerate().map(call).collect();
        if answer.text.is_empty() {
            message["content"] = Value::Null;
        }
    }
    if let Some(reasoning) = &answer.reasoning {
        message["reasoning_content"] = json!(reasoning);
    }
    let logprobs = answer.logprobs.as_ref().map(|tokens| {
        let content: Vec<Value> = tokens
            .iter()
            .map(|token| {
                let top: Vec<Value> =
                    token.top.iter().map(|(text, bytes, logprob)| json!({ "token": text, "logprob": logprob, "bytes": bytes })).collect();
                json!({ "token": token.token, "logprob": token.logprob, "bytes": token.bytes, "top_logprobs": top })
            })
            .collect();
        json!({ "content": content, "refusal": null })
    });
    json!({ "index": 0, "finish_reason": answer.finish.name(), "logprobs": logprobs, "message": message })
}

fn text_choice(answer: &Answer) -> Value {
    let logprobs = answer.logprobs.as_ref().map(|tokens| {
        let mut offset = 0;
        let offsets: Vec<usize> = tokens
            .iter()
            .map(|token| {
                let start = offset;
                offset += token.token.chars().count();
                start
            })
            .collect();
        let top: Vec<Value> = tokens
            .iter()
            .map(|token| {
                token.top.iter().map(|(text, _, logprob)| (text.clone(), json!(logprob))).collect::<serde_json::Map<_, _>>().into()
            })
            .collect();
        json!({
            "tokens": tokens.iter().map(|token| &token.token).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<_>>(),
            "top_logprobs": top,
            "text_offset": offsets,
        })
    });
    json!({ "index": 0, "text": answer.text, "finish_reason": answer.finish.name(), "logprobs": logprobs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_carries_its_id_its_reasoning_and_its_tokens() {
        let answer = Answer {
            text: "4".into(),
            reasoning: Some("2+2".into()),
            token_ids: vec![9],
            prompt_token_ids: vec![1, 2],
            usage: Usage { prompt: 2, completion: 1, ..Usage::default() },
            ..Answer::default()
        };
        let id = RequestId::new();
        let outcome = Outcome::answered(id, Endpoint::ChatCompletions, "m", 7, true, &answer);
        let body: Value = serde_json::from_str(&outcome.body).unwrap();
        assert_eq!(body["id"], id.prefixed("chatcmpl-"));
        assert_eq!(body["choices"][0]["message"]["reasoning_content"], "2+2");
        assert_eq!(body["choices"][0]["token_ids"], json!([9]));
        assert_eq!(body["prompt_token_ids"], json!([1, 2]));
        assert_eq!(body["usage"]["total_tokens"], 3);
    }

    #[test]
    fn calls_of_tools_stand_in_the_message_with_ids_of_their_own() {
        let call = |name: &str| ToolCall { name: name.into(), arguments: "{\"a\":1}".into() };
        let answer = Answer { finish: Finish::ToolCalls, tool_calls: vec![call("f"), call("g")], ..Answer::default() };
        let outcome = Outcome::answered(RequestId::new(), Endpoint::ChatCompletions, "m", 7, false, &answer);
        let choice = serde_json::from_str::<Value>(&outcome.body).unwrap()["choices"][0].take();
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        assert_eq!(calls[0]["function"], json!({ "name": "f", "arguments": "{\"a\":1}" }));
        assert_ne!(calls[0]["id"], calls[1]["id"]);
    }

    #[test]
    fn a_refusal_stands_in_the_body_and_leaves_the_top_level_error_null() {
        let outcome = Outcome::refused(&ApiError::invalid("context_length_exceeded", "too long"));
        let line: Value = serde_json::from_str(&outcome.line(RequestId::new(), "a\"b")).unwrap();
        assert_eq!(line["custom_id"], "a\"b");
        assert_eq!(line["response"]["body"]["error"]["code"], "context_length_exceeded");
        assert_eq!(line["error"], Value::Null);
    }
}
