//! What a model gave back, and how it reads on the wire: the body of a single answer and the line of a result file.

use std::iter;

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
    /// As many as the request asked for.
    pub choices: Vec<Choice>,
    pub prompt_token_ids: Vec<u32>,
    /// If asked for, what might have stood at each place of the prompt but the first: the token that does, then the likeliest.
    pub prompt_logprobs: Option<Vec<Vec<RankedToken>>>,
    /// The prompt is counted once, what was written for every choice.
    pub usage: Usage,
}

/// One of the answers that a request asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    pub text: String,
    /// The think section, if the model wrote one.
    pub reasoning: Option<String>,
    /// Functions that the caller is asked to run.
    pub tool_calls: Vec<ToolCall>,
    pub finish: Finish,
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

/// A token that might stand at a place of the prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedToken {
    pub id: u32,
    pub token: String,
    pub logprob: f32,
    /// 1 for the likeliest.
    pub rank: u32,
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
        let choice = |(index, choice): (usize, &Choice)| {
            let mut object = match endpoint {
                Endpoint::ChatCompletions => chat_choice(id, index, choice),
                Endpoint::Completions => text_choice(index, choice),
            };
            if return_token_ids {
                object["token_ids"] = json!(choice.token_ids);
            }
            object
        };
        let choices: Vec<Value> = answer.choices.iter().enumerate().map(choice).collect();
        let mut object = json!({
            "id": id.prefixed(endpoint.id_prefix()), "object": endpoint.object(), "created": created, "model": model,
            "system_fingerprint": null, "choices": choices, "usage": answer.usage.of_completion(),
        });
        if endpoint == Endpoint::ChatCompletions {
            object["service_tier"] = json!("default");
        }
        if return_token_ids {
            object["prompt_token_ids"] = json!(answer.prompt_token_ids);
        }
        if let Some(places) = &answer.prompt_logprobs {
            // Where vLLM has them; choices share a prompt, so one is enough to tell.
            let home = match endpoint {
                Endpoint::ChatCompletions => &mut object,
                Endpoint::Completions => &mut object["choices"][0],
            };
            home["prompt_logprobs"] = prompt_logprobs(places);
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

fn chat_choice(id: RequestId, index: usize, choice: &Choice) -> Value {
    let mut message = json!({ "role": "assistant", "content": choice.text, "refusal": null });
    if !choice.tool_calls.is_empty() {
        let call = |(number, call): (usize, &ToolCall)| {
            let function = json!({ "name": call.name, "arguments": call.arguments });
            json!({ "id": id.prefixed(&format!("call_{index}_{number}_")), "type": "function", "function": function })
        };
        message["tool_calls"] = choice.tool_calls.iter().enumerate().map(call).collect();
        if choice.text.is_empty() {
            message["content"] = Value::Null;
        }
    }
    if let Some(reasoning) = &choice.reasoning {
        message["reasoning_content"] = json!(reasoning);
    }
    let logprobs = choice.logprobs.as_ref().map(|tokens| {
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
    json!({ "index": index, "finish_reason": choice.finish.name(), "logprobs": logprobs, "message": message })
}

fn text_choice(index: usize, choice: &Choice) -> Value {
    let logprobs = choice.logprobs.as_ref().map(|tokens| {
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
    json!({ "index": index, "text": choice.text, "finish_reason": choice.finish.name(), "logprobs": logprobs })
}

/// As vLLM writes them: null for the first token, which stands after nothing, then `{"token id": what it was worth}`.
fn prompt_logprobs(places: &[Vec<RankedToken>]) -> Value {
    let worth = |token: &RankedToken| json!({ "logprob": token.logprob, "rank": token.rank, "decoded_token": token.token });
    let place = |tokens: &Vec<RankedToken>| tokens.iter().map(|token| (token.id.to_string(), worth(token))).collect::<Value>();
    iter::once(Value::Null).chain(places.iter().map(place)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_answer_carries_its_id_its_reasoning_and_its_tokens() {
        let choice = Choice { text: "4".into(), reasoning: Some("2+2".into()), token_ids: vec![9], ..Choice::default() };
        let usage = Usage { prompt: 2, completion: 1, ..Usage::default() };
        let answer = Answer { choices: vec![choice], prompt_token_ids: vec![1, 2], usage, ..Answer::default() };
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
    fn each_choice_has_its_index_and_what_is_its_own() {
        let logprob = TokenLogprob { token: "a".into(), bytes: vec![97], logprob: -0.5, top: Vec::new() };
        let first = Choice { text: "a".into(), token_ids: vec![1], logprobs: Some(vec![logprob]), ..Choice::default() };
        let second = Choice { text: "b".into(), token_ids: vec![2], finish: Finish::Length, ..Choice::default() };
        let answer = Answer { choices: vec![first, second], ..Answer::default() };
        for endpoint in Endpoint::ALL {
            let outcome = Outcome::answered(RequestId::new(), endpoint, "m", 7, true, &answer);
            let choices = serde_json::from_str::<Value>(&outcome.body).unwrap()["choices"].take();
            let text = |choice: &Value| choice.pointer("/message/content").unwrap_or(&choice["text"]).clone();
            for (index, (words, ids, finish)) in [("a", [1], "stop"), ("b", [2], "length")].into_iter().enumerate() {
                let choice = &choices[index];
                assert_eq!((&choice["index"], text(choice)), (&json!(index), json!(words)));
                assert_eq!((&choice["token_ids"], &choice["finish_reason"]), (&json!(ids), &json!(finish)));
            }
            assert!(choices[0]["logprobs"].is_object() && choices[1]["logprobs"].is_null());
        }
    }

    #[test]
    fn log_probabilities_of_the_prompt_stand_where_vllm_has_them() {
        let token = |id, logprob, rank| RankedToken { id, token: format!("t{id}"), logprob, rank };
        // The prompt's own token may be among the likeliest.
        let places = vec![vec![token(7, -3.5, 4), token(2, -0.5, 1)], vec![token(2, -0.25, 1), token(2, -0.25, 1)]];
        let answer = Answer { choices: vec![Choice::default(); 2], prompt_logprobs: Some(places), ..Answer::default() };
        let body = |endpoint, answer: &Answer| -> Value {
            serde_json::from_str(&Outcome::answered(RequestId::new(), endpoint, "m", 7, false, answer).body).unwrap()
        };
        let expected = json!([
            null,
            { "7": { "logprob": -3.5, "rank": 4, "decoded_token": "t7" }, "2": { "logprob": -0.5, "rank": 1, "decoded_token": "t2" } },
            { "2": { "logprob": -0.25, "rank": 1, "decoded_token": "t2" } },
        ]);
        assert_eq!(body(Endpoint::ChatCompletions, &answer)["prompt_logprobs"], expected);
        let choices = body(Endpoint::Completions, &answer)["choices"].take();
        assert_eq!((&choices[0]["prompt_logprobs"], choices[1].get("prompt_logprobs")), (&expected, None));
        for endpoint in Endpoint::ALL {
            let unasked = Answer { prompt_logprobs: None, ..answer.clone() };
            assert!(!body(endpoint, &unasked).to_string().contains("prompt_logprobs"));
        }
    }

    #[test]
    fn calls_of_tools_stand_in_the_message_with_ids_of_their_own() {
        let call = |name: &str| ToolCall { name: name.into(), arguments: "{\"a\":1}".into() };
        let choice = Choice { finish: Finish::ToolCalls, tool_calls: vec![call("f"), call("g")], ..Choice::default() };
        let answer = Answer { choices: vec![choice.clone(), choice], ..Answer::default() };
        let outcome = Outcome::answered(RequestId::new(), Endpoint::ChatCompletions, "m", 7, false, &answer);
        let choices = serde_json::from_str::<Value>(&outcome.body).unwrap()["choices"].take();
        assert_eq!((&choices[0]["finish_reason"], &choices[0]["message"]["content"]), (&json!("tool_calls"), &Value::Null));
        let calls: Vec<&Value> =
            choices.as_array().unwrap().iter().flat_map(|choice| choice["message"]["tool_calls"].as_array().unwrap()).collect();
        assert_eq!(calls[0]["function"], json!({ "name": "f", "arguments": "{\"a\":1}" }));
        let ids: BTreeSet<_> = calls.iter().map(|call| call["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 4);
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
