//! What an answer holds: text, tokens, reasoning, ends and counts; and what is refused.

use engine::{Engine, FinishReason, Options, Prompt, Request, Sampling};
use serde_json::{Map, json};

use crate::tiny::{BEGIN, END, FILES, assert_counts_agree, engine, greedy, options, random, run, user, with_file};

#[test]
fn a_chat_prompt_is_rendered_and_begins_with_one_bos() {
    let mut engine = engine(&options());
    let chat = run(&mut engine, greedy(user("the invoice"), 1));
    let text = run(&mut engine, greedy(Prompt::Text("the invoice".to_owned()), 1));
    for prompt in [&chat.prompt_token_ids, &text.prompt_token_ids] {
        assert_eq!(prompt.iter().filter(|id| **id == BEGIN).count(), 1);
        assert_eq!(prompt[0], BEGIN);
    }
    let given = run(&mut engine, greedy(Prompt::Tokens(vec![1, 2, 3]), 1));
    assert_eq!(given.prompt_token_ids, [1, 2, 3]);
}

#[test]
fn an_answer_starts_in_reasoning_only_if_the_prompt_opens_it() {
    let mut engine = engine(&options());
    let thinking = run(&mut engine, greedy(user("the invoice"), 8));
    assert_eq!((thinking.usage.reasoning, thinking.text.as_str()), (8, ""));
    assert!(thinking.reasoning.is_some());

    let arguments = Map::from_iter([("enable_thinking".to_owned(), json!(false))]);
    let plain = run(&mut engine, Request { template_arguments: arguments, ..greedy(user("the invoice"), 8) });
    assert_eq!((plain.usage.reasoning, plain.reasoning), (0, None));
    assert!(!plain.text.is_empty());
}

#[test]
fn reasoning_is_closed_after_its_tokens() {
    let mut engine = engine(&options());
    let bounded = run(&mut engine, Request { reasoning_tokens_max: Some(5), ..greedy(user("the invoice"), 12) });
    // The closing marker is one of the tokens that the reasoning took.
    assert_eq!((bounded.usage.reasoning, bounded.usage.completion), (6, 12));
    assert!(!bounded.text.is_empty());
}

#[test]
fn template_arguments_outside_the_list_are_refused() {
    let arguments = Map::from_iter([("chat_template".to_owned(), json!("{{ 1 }}"))]);
    let request = Request { template_arguments: arguments, ..greedy(user("hello"), 8) };
    let refusal = engine(&options()).add(1, request).unwrap_err();
    assert_eq!((refusal.code, refusal.param), ("invalid_value", Some("chat_template_kwargs")));
}

#[test]
fn an_answer_ends_by_length_by_stop_id_and_by_end_of_sequence() {
    let mut engine = engine(&options());
    let prompt = vec![5, 6, 7];
    let full = run(&mut engine, random(3, prompt.clone(), 30));
    assert_counts_agree(&full, 30);

    let last = full.token_ids[7];
    let first_place = full.token_ids.iter().position(|id| *id == last).unwrap();
    let stopped = run(&mut engine, Request { stop_token_ids: vec![last], ..random(3, prompt.clone(), 30) });
    assert_eq!(stopped.finish_reason, FinishReason::Stop);
    assert_eq!(stopped.token_ids, full.token_ids[..=first_place]);

    let sampling = Sampling { temperature: Some(20.0), seed: Some(5), ..Sampling::default() };
    let wild = Request { sampling, ignore_eos: false, ..random(0, prompt, 1900) };
    let ended = run(&mut engine, Request { max_tokens: None, ..wild });
    assert_eq!((ended.finish_reason, ended.token_ids.last()), (FinishReason::Stop, Some(&END)));
}

#[test]
fn a_stop_string_is_cut_off_even_where_it_spans_tokens() {
    let mut engine = engine(&options());
    // Byte tokens make every character a token of its own, so this stop string spans five of them.
    let full = run(&mut engine, random(11, vec![9, 9, 9], 60));
    let characters: Vec<char> = full.text.chars().collect();
    let stop: String = characters[20..25].iter().collect();
    let place = full.text.find(&stop).unwrap();
    let stopped = run(&mut engine, Request { stop: vec![stop], ..random(11, vec![9, 9, 9], 60) });
    assert_eq!(stopped.finish_reason, FinishReason::Stop);
    assert_eq!(stopped.text, full.text[..place]);
    assert!(stopped.usage.completion < full.usage.completion);
}

#[test]
fn nothing_ends_an_answer_before_its_least_length() {
    let mut engine = engine(&options());
    let everything: Vec<u32> = (0..256).collect();
    let short = Request { stop_token_ids: everything.clone(), ..random(3, vec![5], 30) };
    assert!(run(&mut engine, short.clone()).usage.completion < 5);
    let held = run(&mut engine, Request { min_tokens: 12, ..short });
    assert!(held.usage.completion > 12);
    assert!(held.token_ids[..12].iter().all(|id| !everything.contains(id)));
}

#[test]
fn log_probabilities_come_with_their_alternatives() {
    let completion = run(&mut engine(&options()), Request { logprobs: Some(3), ..greedy(user("total"), 6) });
    let logprobs = completion.logprobs.unwrap();
    assert_eq!(logprobs.iter().map(|token| token.id).collect::<Vec<_>>(), completion.token_ids);
    for token in &logprobs {
        assert_eq!(token.top.len(), 3);
        assert_eq!((token.top[0].id, token.top[0].logprob), (token.id, token.logprob));
        assert!(token.logprob <= 0.0 && token.top[1].logprob >= token.top[2].logprob);
    }
}

#[test]
fn a_request_beyond_the_context_is_refused() {
    // The model has a context of 512, the cache of this engine holds less.
    let mut engine = engine(&Options { cache_tokens: 100, page_tokens: 8, ..options() });
    assert_eq!(engine.model().context_length, 96);
    for request in [random(0, vec![1; 90], 7), random(0, vec![1; 97], 1), random(0, vec![1; 3], u32::MAX)] {
        assert_eq!(engine.add(1, request).unwrap_err().code, "context_length_exceeded");
    }
    let fitting = run(&mut engine, random(0, vec![1; 90], 6));
    assert_counts_agree(&fitting, 6);
    let open = run(&mut engine, Request { max_tokens: None, ..random(0, vec![1; 90], 6) });
    assert_eq!((open.usage.completion, open.finish_reason), (6, FinishReason::Length));
}

#[test]
fn impossible_requests_are_refused_by_the_name_of_the_field() {
    let mut engine = engine(&options());
    let sampling = |sampling| Request { sampling, ..random(0, vec![1], 5) };
    let cases = [
        ("temperature", sampling(Sampling { temperature: Some(f32::NAN), ..Sampling::default() })),
        ("top_p", sampling(Sampling { top_p: Some(-0.1), ..Sampling::default() })),
        ("min_p", sampling(Sampling { min_p: Some(2.0), ..Sampling::default() })),
        ("repetition_penalty", sampling(Sampling { repetition_penalty: Some(0.0), ..Sampling::default() })),
        ("logit_bias", sampling(Sampling { logit_bias: vec![(288, 1.0)], ..Sampling::default() })),
        ("thinking_token_budget", Request { reasoning_tokens_max: Some(4), ..random(0, vec![1], 5) }),
        ("stop", Request { stop: vec![String::new()], ..random(0, vec![1], 5) }),
        ("prompt", random(0, vec![288], 5)),
        ("prompt", random(0, vec![], 5)),
        ("max_tokens", random(0, vec![1], 0)),
    ];
    for (param, request) in cases {
        let refusal = engine.add(1, request).unwrap_err();
        assert_eq!((refusal.code, refusal.param), ("invalid_value", Some(param)), "{}", refusal.message);
    }
    assert!(engine.is_idle());
}

#[test]
fn a_model_that_computes_nonsense_fails_the_request_and_nothing_else() {
    let weights = FILES.iter().find(|(name, _)| *name == "model.safetensors").unwrap().1;
    let header = 8 + u64::from_le_bytes(*weights.first_chunk().unwrap()) as usize;
    let nonsense = [&weights[..header], &vec![0xff; weights.len() - header]].concat();
    let mut engine = Engine::load(&with_file("model.safetensors", nonsense), &options()).unwrap();
    engine.add(1, random(1, vec![1, 2, 3], 5)).unwrap();
    let finished = engine.step().pop().unwrap();
    assert_eq!((finished.id, finished.outcome.unwrap_err().code), (1, "model_error"));
    assert!(engine.is_idle());
}
