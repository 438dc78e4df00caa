//! Drafts change when tokens come, and nothing else: every answer is the same bit for bit, with them and without.

use std::collections::HashMap;

use engine::{Completion, Dtype, Engine, FinishReason, Format, ModelSource, Options, Request, Sampling};
use serde_json::json;

use crate::nano::{example, nano_with};
use crate::tiny::{DRAFTING, drain, greedy, options, random, run};

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::Int8];

/// The same engine without drafts, and with those for up to eight requests.
fn both(options: &Options) -> [Engine; 2] {
    [0, 8].map(|draft_slots_max| nano_with(&Options { draft_slots_max, ..options.clone() }))
}

fn in_dtype(dtype: Dtype) -> Options {
    Options { dtype, threads: 2, ..Options::default() }
}

/// An extraction, one word, and a sentence.
fn subjects() -> Vec<Request> {
    let ids = ["extract-en-003", "classify-de-001", "summarise-en-004"];
    ids.map(|id| Request { logprobs: Some(5), ignore_eos: false, max_tokens: Some(80), ..example(id) }).into()
}

fn at_temperature(temperature: f32, request: Request) -> Request {
    let sampling = Sampling { temperature: Some(temperature), seed: Some(11), ..request.sampling };
    Request { sampling, ..request }
}

fn assert_same(with: &Completion, without: &Completion, what: &str) {
    assert_eq!(with.token_ids, without.token_ids, "{what}");
    assert_eq!((with.finish_reason, &with.text, &with.reasoning), (without.finish_reason, &without.text, &without.reasoning), "{what}");
    assert_eq!(with.usage, without.usage, "{what}");
    let bits = |completion: &Completion| -> Vec<u32> {
        let tokens = completion.logprobs.iter().flatten();
        tokens.flat_map(|token| [token.logprob].into_iter().chain(token.top.iter().map(|top| top.logprob)).map(f32::to_bits)).collect()
    };
    assert_eq!(bits(with), bits(without), "{what}");
}

/// Whatever these requests are, and one after the other; returns the share of drafts that were right.
fn assert_all_same(options: &Options, requests: &[Request], what: &str) -> f64 {
    let [mut without, mut with] = both(options);
    for (index, request) in requests.iter().enumerate() {
        let (a, b) = (run(&mut with, request.clone()), run(&mut without, request.clone()));
        assert_same(&a, &b, &format!("{what}, request {index}"));
    }
    assert_eq!(without.drafts().proposed, 0);
    with.drafts().accepted as f64 / with.drafts().proposed as f64
}

#[test]
fn alone_in_every_format_greedy_and_drawn() {
    for dtype in DTYPES {
        for temperature in [0.0, 1.0] {
            // After the end of its answer the model is less sure of itself.
            let endless = Request { ignore_eos: true, ..subjects().remove(1) };
            let requests = subjects().into_iter().chain([endless]).map(|request| at_temperature(temperature, request));
            let right = assert_all_same(&in_dtype(dtype), &requests.collect::<Vec<_>>(), &format!("{dtype:?} at {temperature}"));
            assert!(right > 0.5 && right < 1.0, "{right} of the drafts were right in {dtype:?} at {temperature}");
        }
    }
}

#[test]
fn with_penalties_biases_and_a_hot_temperature() {
    let sampling = |change: Sampling| Sampling { seed: Some(3), ..change };
    let samplings = [
        sampling(Sampling { temperature: Some(2.0), ..Sampling::default() }),
        sampling(Sampling { temperature: Some(1.2), top_p: Some(0.9), top_k: Some(40), min_p: Some(0.01), ..Sampling::default() }),
        sampling(Sampling {
            repetition_penalty: Some(1.3),
            frequency_penalty: Some(0.5),
            presence_penalty: Some(0.5),
            ..Sampling::default()
        }),
        sampling(Sampling { temperature: Some(0.0), logit_bias: vec![(100, 8.0), (101, 8.0)], ..Sampling::default() }),
    ];
    let requests = samplings.map(|sampling| Request { sampling, ..subjects().remove(2) });
    let right = assert_all_same(&in_dtype(Dtype::F32), &requests, "sampling");
    assert!(right > 0.1 && right < 0.9, "{right} of the drafts were right");
}

#[test]
fn wherever_an_answer_ends_among_two_tokens_of_a_step() {
    for temperature in [0.0, 1.0] {
        let subject = at_temperature(temperature, subjects().remove(2));
        let whole = run(&mut both(&in_dtype(Dtype::F32))[0], subject.clone());
        let tokens = whole.logprobs.unwrap();
        let ends = tokens[..20].iter().enumerate().flat_map(|(index, token)| {
            let before: String = tokens[..index].iter().rev().take(2).rev().map(|token| token.token.as_str()).collect();
            [
                Request { max_tokens: Some(index as u32 + 1), ..subject.clone() },
                Request { stop_token_ids: vec![token.id], ..subject.clone() },
                Request { stop_token_ids: vec![token.id], min_tokens: index as u32 + 1, ..subject.clone() },
                Request { stop: vec![before + &token.token], ..subject.clone() },
            ]
        });
        assert_all_same(&in_dtype(Dtype::F32), &ends.collect::<Vec<_>>(), &format!("at {temperature}"));
    }
}

#[test]
fn in_a_format_that_the_answer_must_follow() {
    let schema = json!({
        "type": "object",
        "properties": { "vendor": { "type": "string" }, "invoice_no": { "type": "string" }, "date": { "type": "string" } },
        "required": ["vendor", "invoice_no", "date"],
        "additionalProperties": false,
    });
    let formats = [
        Format::JsonSchema(schema),
        Format::JsonObject,
        Format::Choice(vec!["account".to_owned(), "accounts".to_owned(), "delivery".to_owned()]),
        Format::Regex("[0-9]{3}-[0-9]{4}".to_owned()),
    ];
    for temperature in [0.0, 1.0] {
        let formatted = |format: &Format| at_temperature(temperature, Request { format: Some(format.clone()), ..subjects().remove(0) });
        let requests: Vec<Request> = formats.iter().map(formatted).collect();
        let right = assert_all_same(&in_dtype(Dtype::F32), &requests, &format!("formats at {temperature}"));
        assert!(right > 0.3, "{right} of the drafts were right");
    }
}

#[test]
fn where_the_reasoning_is_cut_off() {
    let thinking = |tokens: u32| {
        let template_arguments = json!({ "enable_thinking": true }).as_object().unwrap().clone();
        Request { template_arguments, reasoning_tokens_max: Some(tokens), ..subjects().remove(0) }
    };
    assert_all_same(&in_dtype(Dtype::F32), &(0..6).map(thinking).collect::<Vec<_>>(), "reasoning");
}

/// The answers of some requests that come one after the other, a step apart.
fn together(engine: &mut Engine, requests: &[Request]) -> HashMap<u64, Completion> {
    let mut ended = Vec::new();
    for (id, request) in requests.iter().enumerate() {
        engine.add(id as u64, request.clone()).unwrap();
        ended.extend(engine.step());
    }
    let mut answers = drain(engine);
    answers.extend(ended.into_iter().map(|finished| (finished.id, finished.outcome.unwrap())));
    answers
}

#[test]
fn among_others_where_drafts_are_made_on_and_off() {
    for dtype in DTYPES {
        for draft_slots_max in [8, 3] {
            let long =
                |index: usize| Request { max_tokens: Some(20 + 12 * index as u32), ignore_eos: true, ..subjects().remove(index % 3) };
            let requests: Vec<Request> = (0..6).map(|index| at_temperature((index % 2) as f32, long(index))).collect();
            let options = Options { draft_slots_max, ..in_dtype(dtype) };
            let mut with = nano_with(&options);
            let answers = together(&mut with, &requests);
            let mut alone = nano_with(&Options { draft_slots_max: 0, prefix_cache: false, ..options });
            for (id, request) in requests.iter().enumerate() {
                let alone = run(&mut alone, request.clone());
                let usage = engine::Usage { cached: answers[&(id as u64)].usage.cached, ..alone.usage };
                assert_same(&answers[&(id as u64)], &Completion { usage, ..alone }, &format!("{dtype:?}, request {id} among others"));
            }
            assert!(with.drafts().accepted > 20);
        }
    }
}

#[test]
fn after_giving_way_and_with_the_prefix_from_the_cache() {
    for (dtype, prefix_cache) in DTYPES.into_iter().flat_map(|dtype| [(dtype, false), (dtype, true)]) {
        // Room for the longest and a half: whoever is younger has to start again.
        let crowded = Options { cache_tokens: 352, page_tokens: 8, prefix_cache, ..in_dtype(dtype) };
        let requests: Vec<Request> = [0, 2, 0, 2].map(|index| Request { ignore_eos: true, ..subjects().remove(index) }).into();
        let [without, with] = both(&crowded).map(|mut engine| (together(&mut engine, &requests), engine.drafts()));
        assert!(with.1.accepted > 100, "{:?}", with.1);
        for (id, answer) in &without.0 {
            let usage = engine::Usage { cached: with.0[id].usage.cached, ..answer.usage };
            let what = format!("{dtype:?}, request {id}, prefix cache {prefix_cache}");
            assert_same(&with.0[id], &Completion { usage, ..answer.clone() }, &what);
        }
    }
}

#[test]
fn what_is_found_in_the_cache_is_the_same() {
    for page_tokens in [1, 4, 16] {
        let options = Options { page_tokens, ..in_dtype(Dtype::Bf16) };
        let again: Vec<Request> = subjects().into_iter().flat_map(|request| [request.clone(), request]).collect();
        let right = assert_all_same(&options, &again, &format!("pages of {page_tokens}"));
        assert!(right > 0.7, "{right} of the drafts were right with pages of {page_tokens}");
    }
}

#[test]
fn where_nearly_all_drafts_are_wrong() {
    let source = ModelSource::Embedded(DRAFTING);
    for dtype in DTYPES {
        let options = Options { dtype, cache_tokens: 240, page_tokens: 4, step_tokens_max: 12, ..options() };
        let [without, with] = [0, 5].map(|draft_slots_max| {
            let mut engine = Engine::load(&source, &Options { draft_slots_max, ..options.clone() }).unwrap();
            let prompt = |id: u32| (0..5 + id).map(|index| (index * 31 + id % 3) % 256).collect::<Vec<u32>>();
            let draws = (0..10).map(|id| random(id.into(), prompt(id), 20 + 3 * id));
            let requests: Vec<Request> = draws.chain((10..14).map(|id| greedy(engine::Prompt::Tokens(prompt(id)), 60))).collect();
            (together(&mut engine, &requests), engine.drafts())
        });
        assert!(with.1.proposed > 100 && with.1.accepted < with.1.proposed / 2, "{:?}", with.1);
        for (id, answer) in &without.0 {
            assert_eq!(with.0[id].token_ids, answer.token_ids, "{dtype:?}, request {id}");
            assert_eq!(answer.finish_reason, FinishReason::Length);
        }
    }
}
