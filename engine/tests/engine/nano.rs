//! millrace-nano against what transformers computes with the same weights (`models/millrace-nano/golden.json`).

use std::fs;
use std::path::{Path, PathBuf};

use engine::{Completion, Dtype, Engine, Message, ModelSource, Options, Prompt, Request};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::tiny::{drain, greedy, run};

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

pub(crate) fn nano_with(options: &Options) -> Engine {
    Engine::load(&ModelSource::Directory(repository().join("models/millrace-nano")), options).unwrap()
}

fn nano(dtype: Dtype) -> Engine {
    nano_with(&Options { dtype, threads: 2, ..Options::default() })
}

fn cases() -> Vec<Case> {
    let file = fs::read(repository().join("models/millrace-nano/golden.json")).unwrap();
    serde_json::from_slice::<Golden>(&file).unwrap().cases
}

fn lines(file: &str) -> Vec<Value> {
    let lines = fs::read_to_string(repository().join("examples").join(file)).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The example request of this id, as the engine takes it.
pub(crate) fn example(custom_id: &str) -> Request {
    let lines = lines("documents.jsonl");
    request(&lines.iter().find(|line| line["custom_id"] == custom_id).unwrap()["body"], 32)
}

fn request(body: &Value, max_tokens: u32) -> Request {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let turns = body["messages"].as_array().unwrap();
    let messages =
        turns.iter().map(|turn| Message { role: text(&turn["role"]), content: Some(text(&turn["content"])), ..Message::default() });
    let template_arguments = body["chat_template_kwargs"].as_object().cloned().unwrap_or_else(Map::new);
    Request { template_arguments, ..greedy(Prompt::Chat(messages.collect()), max_tokens) }
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
    let mut engine = nano(Dtype::F32);
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
    let mut engine = nano(Dtype::F32);
    for case in cases() {
        let completion = run(&mut engine, example(&case.custom_id));
        assert_eq!(completion.prompt_token_ids, case.prompt_ids, "{}", case.custom_id);
        assert_eq!(completion.token_ids, case.greedy_ids, "{}", case.custom_id);
        assert_eq!(completion.reasoning.is_some(), case.prompt.ends_with("<think>\n"), "{}", case.custom_id);
    }
}

#[test]
fn nano_drafts_nine_of_ten_tokens_right() {
    let mut engine = nano(Dtype::Auto);
    let (mut steps, mut tokens) = (0, 0);
    for document in lines("documents.jsonl").iter().step_by(8) {
        engine.add(0, Request { ignore_eos: false, ..request(&document["body"], 256) }).unwrap();
        while !engine.is_idle() {
            tokens += engine.step().into_iter().map(|finished| finished.outcome.unwrap().token_ids.len()).sum::<usize>();
            steps += 1;
        }
    }
    let drafts = engine.drafts();
    println!("{drafts:?}, {tokens} tokens in {steps} steps");
    assert!(drafts.proposed > 300 && drafts.accepted * 10 >= drafts.proposed * 9, "{drafts:?}");
    assert!(steps * 10 <= tokens * 6, "{tokens} tokens in {steps} steps");
}

/// How many of the example documents are answered as expected: JSON compared as values, the rest as text.
fn score(dtype: Dtype) -> f64 {
    let mut engine = nano(dtype);
    let (documents, expected) = (lines("documents.jsonl"), lines("documents.expected.jsonl"));
    let mut equal = 0;
    for (first, documents) in documents.chunks(64).enumerate() {
        for (index, document) in documents.iter().enumerate() {
            let body = &document["body"];
            let request = Request { ignore_eos: false, ..request(body, body["max_tokens"].as_u64().unwrap_or(256) as u32) };
            engine.add((64 * first + index) as u64, request).unwrap();
        }
        for (id, completion) in drain(&mut engine) {
            let answer = completion.text.trim();
            equal += usize::from(match &expected[id as usize]["expected"] {
                Value::String(expected) => answer == expected,
                expected => serde_json::from_str::<Value>(answer).is_ok_and(|answer| answer == *expected),
            });
        }
    }
    equal as f64 / expected.len() as f64
}

#[test]
fn nano_does_its_tasks_in_every_format_within_a_point() {
    let [exact, bf16, int8] = [Dtype::F32, Dtype::Bf16, Dtype::Int8].map(score);
    println!("documents answered as expected: f32 {exact}, bf16 {bf16}, int8 {int8}");
    assert!(exact > 0.95 && exact - bf16 <= 0.01 && exact - int8 <= 0.01, "f32 {exact}, bf16 {bf16}, int8 {int8}");
}

/// Its weights are stored in bf16.
#[test]
fn the_format_that_weights_are_stored_in_is_taken_unless_asked_otherwise() {
    assert_eq!(nano(Dtype::Auto).model().dtype, "bf16");
}
