//! Fuzzing of everything that a model folder brings: broken files are refused, in bounded time and memory, and nothing panics.
//! `MILLRACE_FUZZ_SECONDS` is the time for each of the files.

mod mutation;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use engine::{Engine, Message, ModelSource, Options, Prompt, Request};
use mutation::Mutator;

/// Longer than any load of a model of this size takes on a busy machine.
const LOAD_MAX: Duration = Duration::from_secs(20);
const SECONDS: u64 = 10;

const FILES: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../fixtures/two_groups/config.json")),
    ("model.safetensors", include_bytes!("../fixtures/two_groups/model.safetensors")),
    ("tokenizer.json", include_bytes!("../fixtures/tokenizer/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../fixtures/tokenizer/tokenizer_config.json")),
];

#[test]
fn broken_configurations_are_refused() {
    fuzz("config.json", content("config.json"), 0..usize::MAX);
}

#[test]
fn broken_safetensors_headers_are_refused() {
    let weights = content("model.safetensors");
    let length = u64::from_le_bytes(weights[..8].try_into().expect("eight bytes")) as usize;
    fuzz("model.safetensors", weights, 0..8 + length);
}

#[test]
fn broken_tokenizers_are_refused() {
    fuzz("tokenizer.json", content("tokenizer.json"), 0..usize::MAX);
}

#[test]
fn broken_vocabularies_of_tiktoken_are_refused() {
    let vocabulary = include_bytes!("../fixtures/tokenizer/tiktoken.model");
    fuzz("tiktoken.model", vocabulary, 0..usize::MAX);
}

#[test]
fn broken_templates_are_refused_or_refuse_the_messages() {
    let nano = include_bytes!("../../../models/millrace-nano/tokenizer_config.json");
    let nano: serde_json::Value = serde_json::from_slice(nano).expect("it is JSON");
    let template = nano["chat_template"].as_str().expect("nano has a template");
    fuzz("chat_template.jinja", template.as_bytes(), 0..usize::MAX);
}

fn content(name: &str) -> &'static [u8] {
    FILES.iter().find(|(file, _)| *file == name).expect("a known file").1
}

/// Mutates a part of one file of a small model until the time is over; each time the model is loaded and, if it loads, asked.
fn fuzz(name: &str, original: &[u8], part: std::ops::Range<usize>) {
    let seconds = std::env::var("MILLRACE_FUZZ_SECONDS").map_or(SECONDS, |seconds| seconds.parse().expect("a number of seconds"));
    let folder = tempfile::tempdir().expect("a folder");
    for (file, content) in FILES {
        fs::write(folder.path().join(file), content).expect("the folder can be written");
    }
    if name == "tiktoken.model" {
        // It is read where there is no other.
        fs::remove_file(folder.path().join("tokenizer.json")).expect("the file can be removed");
    }
    let (target, part) = (folder.path().join(name), part.start..part.end.min(original.len()));
    let (head, tail) = (&original[part.clone()], &original[part.end..]);
    let (mut inputs, mut accepted) = (0_u64, 0_u64);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        let mut bytes = Mutator::new(inputs).mutate(head);
        bytes.extend_from_slice(tail);
        fs::write(&target, &bytes).expect("the file can be written");
        let loaded_at = Instant::now();
        let outcome = std::panic::catch_unwind(|| ask(folder.path()));
        let (took, kept) = (loaded_at.elapsed(), std::env::temp_dir().join(format!("millrace-fuzz-{inputs}-{name}")));
        if outcome.is_err() || took > LOAD_MAX {
            fs::write(&kept, &bytes).expect("the input can be kept");
            panic!("input {inputs} took {took:?} and panicked: {}; it is kept in {}", outcome.is_err(), kept.display());
        }
        accepted += u64::from(outcome.unwrap_or_default());
        inputs += 1;
    }
    println!("fuzzed {name}: {inputs} inputs, {accepted} of them accepted, {seconds} s");
    assert!(inputs > 0 && accepted < inputs, "nothing was refused, so nothing was broken");
}

/// Loads the model and runs a chat to its end. True if it was loaded.
fn ask(folder: &Path) -> bool {
    let options = Options { threads: 1, cache_tokens: 256, slots_max: 1, step_tokens_max: 64, ..Options::default() };
    let Ok(mut engine) = Engine::load(&ModelSource::Directory(folder.to_owned()), &options) else {
        return false;
    };
    let message = Message { role: "user".to_owned(), content: Some("Grüße, 東京 🙂 <think>".to_owned()), ..Message::default() };
    let request = Request { max_tokens: Some(4), ..Request::new(Prompt::Chat(vec![message])) };
    if engine.add(1, request).is_ok() {
        while !engine.is_idle() {
            drop(engine.step());
        }
    }
    true
}
