//! What bodies mean, and which field an error blames.

use super::*;

fn chat(body: &str) -> Result<Request, ApiError> {
    Request::parse(Endpoint::ChatCompletions, body.as_bytes())
}

fn completion(body: &str) -> Result<Request, ApiError> {
    Request::parse(Endpoint::Completions, body.as_bytes())
}

/// Adds fields to an otherwise good chat body and gives code and param of the error.
fn blame(fields: &str) -> (&'static str, Option<String>) {
    let error = chat(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{fields}}}"#)).expect_err(fields);
    (error.code, error.param)
}

#[test]
fn a_chat_body_is_read_with_its_parts_and_its_wishes() {
    let request = chat(
        r#"{"model":"m","messages":[{"role":"developer","content":"be brief"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],
            "max_tokens":5,"max_completion_tokens":7,"stop":"x","top_k":-1,"temperature":0,"reasoning_effort":"none","frobnicate":1,"user":"u"}"#,
    )
    .unwrap();
    let Prompt::Chat(messages) = &request.prompt else { panic!("not a chat") };
    assert_eq!((messages[0].role, messages[1].content.as_str()), (Role::System, "ab"));
    assert_eq!(request.generation.max_tokens, Some(7));
    assert_eq!(request.generation.stop, ["x"]);
    assert_eq!(request.generation.top_k, None);
    assert_eq!(request.generation.thinking, Some(false));
    assert_eq!(request.ignored, ["frobnicate"]);
}

#[test]
fn completions_take_one_prompt_as_text_or_as_token_ids() {
    for (prompt, expected) in [
        (r#""hi""#, Prompt::Text("hi".into())),
        (r#"["hi"]"#, Prompt::Text("hi".into())),
        ("[1,2]", Prompt::Tokens(vec![1, 2])),
        ("[7]", Prompt::Tokens(vec![7])),
        ("[[1,2]]", Prompt::Tokens(vec![1, 2])),
    ] {
        assert_eq!(completion(&format!(r#"{{"model":"m","prompt":{prompt}}}"#)).unwrap().prompt, expected);
    }
    for prompt in [r#"["a","b"]"#, "[[1],[2]]", "[-1]", "[]", "3", "[1.5]", "[4294967296]"] {
        let error = completion(&format!(r#"{{"model":"m","prompt":{prompt}}}"#)).expect_err(prompt);
        assert_eq!(error.param.as_deref(), Some("prompt"), "{prompt}");
    }
}

#[test]
fn errors_name_the_field() {
    for (fields, code, param) in [
        (r#""temperature":3"#, "invalid_value", "temperature"),
        (r#""max_tokens":0"#, "invalid_value", "max_tokens"),
        (r#""stop":[""]"#, "invalid_value", "stop"),
        (r#""stream":true"#, "unsupported_parameter", "stream"),
        (r#""n":2,"best_of":3"#, "unsupported_parameter", "best_of"),
        (r#""best_of":2"#, "unsupported_parameter", "best_of"),
        (r#""chat_template":"{{x}}""#, "unsupported_parameter", "chat_template"),
        (r#""chat_template_kwargs":{"chat_template":"x"}"#, "unsupported_parameter", "chat_template_kwargs.chat_template"),
        (r#""chat_template_kwargs":{"date_string":1}"#, "invalid_value", "chat_template_kwargs.date_string"),
        (r#""echo":true"#, "unsupported_parameter", "echo"),
        (r#""prompt_logprobs":21"#, "invalid_value", "prompt_logprobs"),
        (r#""prompt_logprobs":-1"#, "invalid_value", "prompt_logprobs"),
        (r#""prompt_logprobs":true"#, "invalid_value", "prompt_logprobs"),
        (r#""top_logprobs":3"#, "invalid_value", "top_logprobs"),
        (r#""frequency_penalty":2.5"#, "invalid_value", "frequency_penalty"),
        (r#""logit_bias":{"a":1}"#, "invalid_value", "logit_bias"),
        (r#""logit_bias":{"1":101}"#, "invalid_value", "logit_bias"),
        (r#""thinking":{"type":"enabled","budget_tokens":-1}"#, "invalid_value", "thinking.budget_tokens"),
        (r#""tools":[{"type":"web_search"}]"#, "unsupported_parameter", "tools[0].type"),
        (r#""tools":[{"type":"function","function":{}}]"#, "missing_required_parameter", "tools[0].function.name"),
        (r#""tool_choice":"required""#, "invalid_value", "tool_choice"),
        (r#""tool_choice":{"type":"function","function":{"name":"f"}}"#, "invalid_value", "tool_choice"),
        (r#""response_format":{"type":"xml"}"#, "invalid_value", "response_format.type"),
        (
            r#""response_format":{"type":"json_schema","json_schema":{}}"#,
            "missing_required_parameter",
            "response_format.json_schema.schema",
        ),
        (r#""guided_choice":[]"#, "invalid_value", "guided_choice"),
        (r#""guided_regex":"a","response_format":{"type":"json_object"}"#, "invalid_value", "guided_regex"),
        (r#""structured_outputs":{}"#, "invalid_value", "structured_outputs"),
        (r#""structured_outputs":{"regex":"a","choice":["b"]}"#, "invalid_value", "structured_outputs"),
        (r#""structured_outputs":{"grammar":"root ::= x"}"#, "unsupported_parameter", "structured_outputs.grammar"),
        (r#""thinking":{"type":"maybe"}"#, "invalid_value", "thinking.type"),
    ] {
        assert_eq!(blame(fields), (code, Some(param.to_owned())), "{fields}");
    }
    let error = chat(r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("messages[0].content[0]"));
    assert_eq!(chat(r#"{"messages":[]}"#).unwrap_err().param.as_deref(), Some("model"));
}

#[test]
fn parameters_at_their_neutral_value_are_fine() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":false,"n":1,"best_of":1,"tools":[],"logit_bias":{},"response_format":{"type":"text"},"stop":null}"#;
    assert!(chat(body).unwrap().ignored.is_empty());
}

#[test]
fn one_to_sixteen_answers_may_be_asked_for() {
    let asked = |n: &str| completion(&format!(r#"{{"model":"m","prompt":"hi","best_of":{n},"n":{n}}}"#));
    for (n, choices) in [("null", 1), ("1", 1), ("16", 16)] {
        assert_eq!(asked(n).unwrap().generation.choices, choices);
    }
    for n in ["0", "17", "-1", "1.5", "\"2\"", "true", "99999999999999999999"] {
        let error = asked(n).expect_err(n);
        assert_eq!((error.status, error.code, error.param.as_deref()), (400, "invalid_value", Some("n")));
        assert_eq!(error.message, "`n` must be a whole number from 1 to 16");
    }
}

#[test]
fn log_probabilities_of_the_prompt_may_be_asked_for_with_up_to_twenty_alternatives() {
    for (wish, expected) in [("null", None), ("0", Some(0)), ("20", Some(20))] {
        let body = format!(r#"{{"model":"m","prompt":"hi","messages":[{{"role":"user","content":"hi"}}],"prompt_logprobs":{wish}}}"#);
        for request in [chat(&body).unwrap(), completion(&body).unwrap()] {
            assert_eq!((request.generation.prompt_logprobs, request.generation.logprobs), (expected, None));
        }
    }
}

#[test]
fn every_spelling_of_a_format_is_understood() {
    let schema = || Format::JsonSchema(serde_json::json!({ "type": "object" }));
    for (fields, expected) in [
        (r#""response_format":{"type":"json_object"}"#, Format::JsonObject),
        (r#""response_format":{"type":"json_schema","json_schema":{"name":"a","strict":true,"schema":{"type":"object"}}}"#, schema()),
        (r#""guided_json":"{\"type\":\"object\"}""#, schema()),
        (r#""guided_regex":"[a-z]+""#, Format::Regex("[a-z]+".into())),
        (r#""guided_choice":["a","b"]"#, Format::Choice(vec!["a".into(), "b".into()])),
        (r#""structured_outputs":{"json":{"type":"object"},"regex":null}"#, schema()),
        (r#""structured_outputs":{"json_object":true}"#, Format::JsonObject),
    ] {
        let request = chat(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{fields}}}"#)).unwrap();
        assert_eq!(request.generation.format, Some(expected), "{fields}");
        assert!(request.ignored.is_empty(), "{fields}");
    }
}

#[test]
fn tools_and_earlier_calls_are_read() {
    let request = chat(
        r#"{"model":"m","messages":[{"role":"user","content":"hi"},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"1","content":"ok"}],
            "tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"f"}}}"#,
    )
    .unwrap();
    let Prompt::Chat(messages) = &request.prompt else { panic!("not a chat") };
    assert!(messages[1].tool_calls.is_some());
    assert_eq!(messages[2].tool_call_id.as_deref(), Some("1"));
    assert_eq!(request.generation.tools.choice, ToolChoice::Named("f".into()));
    let none = chat(
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"none"}"#,
    );
    assert_eq!(none.unwrap().generation.tools, Tools::default());
}

#[test]
fn a_tool_keeps_the_order_of_its_keys() {
    let tool =
        r#"{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"z":{},"a":{}}},"description":"d"}}"#;
    let request = chat(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"tools":[{tool}]}}"#)).unwrap();
    assert_eq!(request.generation.tools.definitions[0].to_string(), tool);
}

#[test]
fn the_template_may_be_told_the_date() {
    let body =
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"chat_template_kwargs":{"date_string":"02 Jan 2026","thinking":true}}"#;
    let generation = chat(body).unwrap().generation;
    assert_eq!((generation.date_string.as_deref(), generation.thinking), (Some("02 Jan 2026"), Some(true)));
}

#[test]
fn a_body_that_is_not_json_is_located_and_never_quoted() {
    let error = chat("{\"model\": secret}").unwrap_err();
    assert_eq!(error.code, "invalid_json");
    assert!(!error.message.contains("secret"), "{}", error.message);
}
