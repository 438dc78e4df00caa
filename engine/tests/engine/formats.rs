//! Answers in a format: whatever the model would rather say, what ends in `stop` is in it.

use engine::{FinishReason, Format, Prompt, Request, Sampling, ToolChoice, Tools};
use serde_json::{Map, Value, json};

use crate::tiny::{drain, engine, options, random, run, user};

fn formatted(seed: u64, format: Format) -> Request {
    Request { ignore_eos: false, format: Some(format), ..random(seed, vec![5, 6, 7], 120) }
}

fn without_thinking() -> Map<String, Value> {
    Map::from_iter([("enable_thinking".to_owned(), json!(false))])
}

#[test]
fn answers_of_a_random_model_validate() {
    let schema = json!({
        "type": "object",
        "properties": {
            "kind": { "enum": ["invoice", "reminder"] },
            "total": { "type": "integer", "minimum": 0, "maximum": 9999 },
            "currency": { "type": "string", "pattern": "^[A-Z]{3}$" },
            "lines": { "type": "array", "items": { "$ref": "#/$defs/line" }, "minItems": 1, "maxItems": 2 },
        },
        "required": ["kind", "total", "currency", "lines"],
        "additionalProperties": false,
        "$defs": { "line": { "type": "object", "properties": { "paid": { "type": "boolean" } }, "required": ["paid"], "additionalProperties": false } },
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut engine = engine(&options());
    for seed in 0..12 {
        engine.add(seed, formatted(seed, Format::JsonSchema(schema.clone()))).unwrap();
    }
    let answers = drain(&mut engine);
    let stopped: Vec<_> = answers.values().filter(|answer| answer.finish_reason == FinishReason::Stop).collect();
    assert!(stopped.len() >= 6, "{} of 12 have ended", stopped.len());
    for answer in stopped {
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(validator.is_valid(&value), "{value}");
    }
}

#[test]
fn a_choice_is_made_alone_as_in_a_batch() {
    let choice = || Format::Choice(vec!["approve".to_owned(), "reject".to_owned(), "ask".to_owned()]);
    let mut batch = engine(&options());
    for seed in 0..8 {
        batch.add(seed, formatted(seed, choice())).unwrap();
    }
    let together = drain(&mut batch);
    for seed in 0..8 {
        let alone = run(&mut engine(&options()), formatted(seed, choice()));
        assert_eq!(alone.finish_reason, FinishReason::Stop);
        assert!(["approve", "reject", "ask"].contains(&alone.text.as_str()), "{}", alone.text);
        assert_eq!(alone.token_ids, together[&seed].token_ids);
    }
}

#[test]
fn the_format_begins_after_the_reasoning() {
    let mut engine = engine(&options());
    let asked = Request { format: Some(Format::Regex("[0-9]{4}".to_owned())), ignore_eos: false, ..random(1, Vec::new(), 400) };
    // This template opens the reasoning; a random model needs some luck to close it.
    let answers = (0..40).map(|seed| {
        let sampling = Sampling { seed: Some(seed), temperature: Some(1.0), ..Sampling::default() };
        run(&mut engine, Request { prompt: user("the invoice"), sampling, ..asked.clone() })
    });
    let stopped = answers.into_iter().find(|answer| answer.finish_reason == FinishReason::Stop).unwrap();
    assert!(stopped.reasoning.is_some());
    assert!(stopped.text.len() == 4 && stopped.text.bytes().all(|byte| byte.is_ascii_digit()), "{}", stopped.text);

    let plain = run(&mut engine, Request { prompt: user("the invoice"), template_arguments: without_thinking(), ..asked });
    assert_eq!((plain.finish_reason, plain.text.len()), (FinishReason::Stop, 4));
}

#[test]
fn a_request_that_gives_way_keeps_its_place_in_the_format() {
    let format = || Format::Regex("[a-z]{60}".to_owned());
    let crowded = engine::Options { cache_tokens: 128, ..options() };
    let mut crowded = engine(&crowded);
    for seed in 0..4 {
        crowded.add(seed, formatted(seed, format())).unwrap();
    }
    let answers = drain(&mut crowded);
    for seed in 0..4 {
        let alone = run(&mut engine(&options()), formatted(seed, format()));
        assert_eq!(answers[&seed].token_ids, alone.token_ids);
    }
}

#[test]
fn other_ends_beside_a_format_are_refused() {
    let mut engine = engine(&options());
    let asked = || formatted(0, Format::JsonObject);
    let cases = [
        ("stop", Request { stop: vec!["x".to_owned()], ..asked() }),
        ("stop_token_ids", Request { stop_token_ids: vec![3], ..asked() }),
        ("min_tokens", Request { min_tokens: 3, ..asked() }),
        ("ignore_eos", Request { ignore_eos: true, ..asked() }),
        ("response_format", Request { format: Some(Format::JsonSchema(json!({ "uniqueItems": true }))), ..asked() }),
    ];
    for (param, request) in cases {
        let refusal = engine.add(1, Request { prompt: Prompt::Tokens(vec![1]), ..request }).unwrap_err();
        assert_eq!(refusal.param, Some(param), "{}", refusal.message);
    }
    assert!(engine.is_idle());
}

#[test]
fn a_tool_that_must_be_called_is_called_with_arguments_that_validate() {
    let schema = json!({ "type": "object", "properties": { "unit": { "enum": ["box", "bag"] } }, "required": ["unit"], "additionalProperties": false });
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": schema } });
    let asked = |choice| Request {
        prompt: user("how many?"),
        template_arguments: without_thinking(),
        tools: Tools { definitions: vec![tool("count"), tool("weigh")], choice },
        ..Request { format: None, ..formatted(3, Format::JsonObject) }
    };
    let mut engine = engine(&options());
    let named = run(&mut engine, asked(ToolChoice::Named("weigh".to_owned())));
    assert_eq!((named.text.as_str(), named.tool_calls.len()), ("", 1));
    assert_eq!(named.tool_calls[0].name, "weigh");
    let arguments: Value = serde_json::from_str(&named.tool_calls[0].arguments).unwrap();
    assert!(jsonschema::is_valid(&schema, &arguments), "{arguments}");
    let any = run(&mut engine, asked(ToolChoice::Required));
    assert!(["count", "weigh"].contains(&any.tool_calls[0].name.as_str()));
    let refusal = engine.add(1, asked(ToolChoice::Named("paint".to_owned()))).unwrap_err();
    assert_eq!(refusal.param, Some("tool_choice"));
}
