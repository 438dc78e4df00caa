//! millrace-nano against what transformers computes with the same weights (`models/millrace-nano/golden.json`).

use std::fs;
use std::path::{Path, PathBuf};

use engine::{Completion, Engine, Message, ModelSource, Options, Prompt, Request};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::tiny::{greedy, run};

const LOGIT_DIFFERENCE_MAX: f32 = 1e-4;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    custom_id: String,
    prompt: String,
    prompt_ids: Vec<u32>,
    greedy_ids: Vec<u32>,
    top_logits: Vec<(u32, f32)>,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn nano() -> Engine {
    let directory = repository().join("models/millrace-nano");
    Engine::load(&ModelSource::Directory(directory), &Options { threads: 2, ..Options::default() }).unwrap()
}

fn cases() -> Vec<Case> {
    let file = fs::read(repository().join("models/millrace-nano/golden.json")).unwrap();
    serde_json::from_slice::<Golden>(&file).unwrap().cases
}

/// The example request of this id, as the engine takes it.
fn example(custom_id: &str) -> Request {
    let lines = fs::read_to_string(repository().join("examples/documents.jsonl")).unwrap();
    let line = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|line| line["custom_id"] == custom_id);
    let body = &line.unwrap()["body"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let turns = body["messages"].as_array().unwrap();
    let messages =
        turns.iter().map(|turn| Message { role: text(&turn["role"]), content: Some(text(&turn["content"])), ..Message::default() });
    let template_arguments = body["chat_template_kwargs"].as_object().cloned().unwrap_or_else(Map::new);
    Request { template_arguments, ..greedy(Prompt::Chat(messages.collect()), 32) }
}

fn assert_logits_agree(completion: &Completion, case: &Case) {
    // A log probability is a logit less the same number for all tokens.
    let top = &completion.logprobs.as_ref().unwrap()[0].top;
    let (_, highest) = case.top_logits[0];
    for (id, logit) in &case.top_logits {
        let ours = top.iter().find(|token| token.id == *id).unwrap();
        let difference = (logit - highest) - (ours.logprob - top[0].logprob);
        assert!(difference.abs() < LOGIT_DIFFERENCE_MAX, "{}: token {id} differs by {difference}", case.custom_id);
    }
}

#[test]
fn nano_reads_prompts_and_continues_them_as_transformers_does() {
    let mut engine = nano();
    for case in cases() {
        let request = Request { logprobs: Some(80), ..greedy(Prompt::Text(case.prompt.clone()), 32) };
        let completion = run(&mut engine, request);
        assert_eq!(completion.prompt_token_ids, case.prompt_ids, "{}", case.custom_id);
        assert_eq!(completion.token_ids, case.greedy_ids, "{}", case.custom_id);
        assert_logits_agree(&completion, &case);
    }
}

#[test]
fn nano_renders_chats_as_transformers_does() {
    let mut engine = nano();
    for case in cases() {
        let completion = run(&mut engine, example(&case.custom_id));
        assert_eq!(completion.prompt_token_ids, case.prompt_ids, "{}", case.custom_id);
        assert_eq!(completion.token_ids, case.greedy_ids, "{}", case.custom_id);
        assert_eq!(completion.reasoning.is_some(), case.prompt.ends_with("<think>\n"), "{}", case.custom_id);
    }
}
