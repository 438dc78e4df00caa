//! A tiny random model, requests to it, and a loop that runs it until it is idle.

use std::collections::HashMap;

use engine::{Completion, Engine, FinishReason, Message, ModelSource, Options, Prompt, Request, Sampling};

/// The files of a fixture, and the tokenizer that they share.
macro_rules! tiny {
    ($variant:literal) => {
        &[
            ("config.json", include_bytes!(concat!("../fixtures/", $variant, "/config.json")).as_slice()),
            ("model.safetensors", include_bytes!(concat!("../fixtures/", $variant, "/model.safetensors")).as_slice()),
            ("tokenizer.json", include_bytes!("../fixtures/tokenizer/tokenizer.json").as_slice()),
            ("tokenizer_config.json", include_bytes!("../fixtures/tokenizer/tokenizer_config.json").as_slice()),
        ]
    };
}

pub(crate) const FILES: &[(&str, &[u8])] = tiny!("two_groups");
/// Another model, which has a layer for drafts.
pub(crate) const DRAFTING: &[(&str, &[u8])] = tiny!("mtp");

pub(crate) const BEGIN: u32 = 282;
pub(crate) const END: u32 = 283;

/// The model with one file replaced or added.
pub(crate) fn with_file(name: &'static str, bytes: Vec<u8>) -> ModelSource {
    let mut files: Vec<_> = FILES.iter().copied().filter(|(file, _)| *file != name).collect();
    files.push((name, Vec::leak(bytes)));
    ModelSource::Embedded(Vec::leak(files))
}

pub(crate) fn options() -> Options {
    Options { threads: 2, cache_tokens: 2048, page_tokens: 8, step_tokens_max: 64, ..Options::default() }
}

pub(crate) fn engine(options: &Options) -> Engine {
    Engine::load(&ModelSource::Embedded(FILES), options).unwrap()
}

/// A continuation at temperature 1 that only its length ends.
pub(crate) fn random(seed: u64, prompt: Vec<u32>, max_tokens: u32) -> Request {
    Request {
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        sampling: Sampling { temperature: Some(1.0), seed: Some(seed), ..Sampling::default() },
        ..Request::new(Prompt::Tokens(prompt))
    }
}

pub(crate) fn greedy(prompt: Prompt, max_tokens: u32) -> Request {
    Request {
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
        ..Request::new(prompt)
    }
}

pub(crate) fn user(content: &str) -> Prompt {
    Prompt::Chat(vec![Message { role: "user".to_owned(), content: Some(content.to_owned()), ..Message::default() }])
}

/// Runs until idle. Every id ends once.
pub(crate) fn drain(engine: &mut Engine) -> HashMap<u64, Completion> {
    let mut completions = HashMap::new();
    while !engine.is_idle() {
        for finished in engine.step() {
            let before = completions.insert(finished.id, finished.outcome.unwrap());
            assert!(before.is_none(), "request {} ended twice", finished.id);
        }
    }
    completions
}

pub(crate) fn run(engine: &mut Engine, request: Request) -> Completion {
    engine.add(0, request).unwrap();
    drain(engine).remove(&0).unwrap()
}

/// The length that a completion reports everywhere it reports one.
pub(crate) fn assert_counts_agree(completion: &Completion, max_tokens: u32) {
    assert_eq!(completion.usage.completion as usize, completion.token_ids.len());
    assert_eq!(completion.usage.prompt as usize, completion.prompt_token_ids.len());
    assert_eq!(completion.finish_reason == FinishReason::Length, completion.usage.completion == max_tokens);
}
