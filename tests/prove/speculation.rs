//! What drafts are worth: millrace-nano on the example documents, with and without, by the number of requests that run at once, pair by
//! pair. The answers must be the same.

use std::{array, fs, time::Instant};

use engine::{Completion, DraftCounts, Engine, Message, ModelSource, Options, Prompt, Request, Sampling};
use serde_json::Value;
use tests::servers::repository;

use crate::figures::{Figures, median};

const SLOTS: [usize; 4] = [1, 2, 4, 8];
const PAIRS: usize = 3;

/// One way through all documents.
struct Run {
    seconds: f64,
    answers: Vec<Completion>,
    drafts: DraftCounts,
}

pub(crate) fn prove(figures: &mut Figures) {
    let requests = requests();
    for slots in SLOTS {
        let pairs: [(Run, Run); PAIRS] = array::from_fn(|_| (run(&requests, slots, 0), run(&requests, slots, slots)));
        let tokens: usize = pairs[0].0.answers.iter().map(|answer| answer.token_ids.len()).sum();
        let rate = |run: &Run| tokens as f64 / run.seconds;
        let (speed, claim) =
            (median(pairs.each_ref().map(|(plain, drafted)| plain.seconds / drafted.seconds)), format!("{slots} at once: "));
        let DraftCounts { proposed, accepted } = pairs[0].1.drafts;
        figures.at_least(&format!("{claim}share of the drafts that were right"), accepted as f64 / proposed as f64, 0.9);
        figures.note(&format!("{claim}answer tokens per second without drafts"), median(pairs.each_ref().map(|(plain, _)| rate(plain))));
        figures.note(&format!("{claim}the same with drafts"), median(pairs.each_ref().map(|(_, drafted)| rate(drafted))));
        match slots <= Options::default().draft_slots_max {
            true => figures.at_least(&format!("{claim}how many times as fast, median of the pairs"), speed, 1.0),
            false => figures.note(&format!("{claim}how many times as fast, median of the pairs"), speed),
        }
        let same = pairs.iter().filter(|(plain, drafted)| drawn(plain) == drawn(drafted)).count();
        figures.at_least(&format!("{claim}share of the pairs whose answers are the same"), same as f64 / PAIRS as f64, 1.0);
    }
}

fn run(requests: &[Request], slots_max: usize, draft_slots_max: usize) -> Run {
    let nano = ModelSource::Directory(repository("models/millrace-nano"));
    let options = Options { slots_max, draft_slots_max, look_ahead: requests.len(), ..Options::default() };
    let mut engine = Engine::load(&nano, &options).expect("millrace-nano loads");
    for (id, request) in requests.iter().enumerate() {
        engine.add(id as u64, request.clone()).expect("the request is taken");
    }
    let began = Instant::now();
    let mut finished = Vec::new();
    while !engine.is_idle() {
        finished.extend(engine.step());
    }
    let seconds = began.elapsed().as_secs_f64();
    finished.sort_by_key(|finished| finished.id);
    let answers = finished.into_iter().map(|finished| finished.outcome.expect("an answer")).collect();
    Run { seconds, answers, drafts: engine.drafts() }
}

/// The example documents, greedy.
fn requests() -> Vec<Request> {
    let lines = fs::read_to_string(repository("examples/documents.jsonl")).expect("the examples");
    lines.lines().map(|line| request(&serde_json::from_str::<Value>(line).expect("JSON")["body"])).collect()
}

fn request(body: &Value) -> Request {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let message = |turn: &Value| Message { role: text(&turn["role"]), content: Some(text(&turn["content"])), ..Message::default() };
    let messages = body["messages"].as_array().expect("messages").iter().map(message).collect();
    Request {
        max_tokens: body["max_tokens"].as_u64().map(|tokens| tokens as u32),
        sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
        template_arguments: body["chat_template_kwargs"].as_object().cloned().unwrap_or_default(),
        ..Request::new(Prompt::Chat(messages))
    }
}

fn drawn(run: &Run) -> Vec<&[u32]> {
    run.answers.iter().map(|answer| answer.token_ids.as_slice()).collect()
}
