//! What drafts are worth: millrace-nano on the example documents, with and without, by the number of requests that run at once, pair by
//! pair. The answers must be the same. And what drafts cost a larger model, whose weights a step waits for.

use std::{array, fs, time::Instant};

use engine::{DraftCounts, Dtype, Engine, Message, ModelSource, Options, Prompt, Request, Sampling};
use serde_json::{Value, json};
use tests::servers::repository;

use crate::figures::{Figures, median};
use crate::run::Run;

const SLOTS: [usize; 4] = [1, 2, 4, 8];
const PAIRS: usize = 3;
/// Steps that are timed.
const STEPS: usize = 24;
/// Of the drafts of DeepSeek-V3's own layer, so many are right or more.
const USUALLY_RIGHT: f64 = 0.8;

pub(crate) fn prove(figures: &mut Figures) {
    let requests = requests();
    for slots in SLOTS {
        let run = |draft_slots_max| {
            Run::new(&Options { slots_max: slots, draft_slots_max, look_ahead: requests.len(), ..Options::default() }, &requests)
        };
        let pairs: [(Run, Run); PAIRS] = array::from_fn(|_| (run(0), run(slots)));
        let what = |what: &str| format!("{slots} at once: {what}");
        let DraftCounts { proposed, accepted } = pairs[0].1.drafts;
        let tokens: usize = pairs[0].0.answers.iter().map(|answer| answer.token_ids.len()).sum();
        let rate = |run: &Run| tokens as f64 / run.seconds;
        let same = pairs.iter().filter(|(without, with)| without.drawn() == with.drawn()).count();
        figures.at_least(&what("share of drafts that were right"), accepted as f64 / proposed as f64, 0.9);
        figures.at_least(&what("share of the pairs whose answers are the same"), same as f64 / PAIRS as f64, 1.0);
        figures.note(&what("answer tokens per second without drafts"), median(pairs.each_ref().map(|(without, _)| rate(without))));
        figures.note(&what("the same with drafts"), median(pairs.each_ref().map(|(_, with)| rate(with))));
        let speed = median(pairs.each_ref().map(|(without, with)| without.seconds / with.seconds));
        match slots {
            1 => figures.at_least(&what("how many times as fast, median of the pairs"), speed, 1.0),
            _ => figures.note(&what("how many times as fast, median of the pairs"), speed),
        }
    }
    cost(figures);
}

/// Random weights never draft right, so what is left is what drafts cost.
fn cost(figures: &mut Figures) {
    let Some(ModelSource::Random { config }) = engine::shape("peer-moe", None) else { panic!("the shape has a name") };
    let mut config: Value = serde_json::from_str(&config).expect("a configuration");
    config["num_nextn_predict_layers"] = json!(1);
    let source = ModelSource::Random { config: config.to_string() };
    let mut engines = [0, usize::MAX].map(|draft_slots_max| {
        let options = Options { dtype: Dtype::Bf16, prefix_cache: false, draft_slots_max, ..Options::default() };
        Engine::load(&source, &options).expect("random weights load")
    });
    for slots in SLOTS {
        let enough: [f64; PAIRS] = array::from_fn(|_| {
            let [without, with] = engines.each_mut().map(|engine| seconds(engine, slots as u64));
            with / without - 1.0
        });
        let what = format!("750 M parameters, {slots} at once: share of right drafts from which they pay");
        match slots <= Options::default().draft_slots_max {
            true => figures.at_most(&what, median(enough), USUALLY_RIGHT),
            false => figures.note(&what, median(enough)),
        }
    }
}

/// Of some steps in which so many requests draw.
fn seconds(engine: &mut Engine, slots: u64) -> f64 {
    for id in 0..slots {
        let prompt = (0..32).map(|index| (index * 7 + id as u32) % 250).collect();
        let sampling = Sampling { temperature: Some(1.0), ..Sampling::default() };
        let request = Request { max_tokens: Some(4 * STEPS as u32), ignore_eos: true, sampling, ..Request::new(Prompt::Tokens(prompt)) };
        engine.add(id, request).expect("the request is taken");
    }
    // The prompts, and the first drafts.
    (0..2).for_each(|_| drop(engine.step()));
    let began = Instant::now();
    (0..STEPS).for_each(|_| drop(engine.step()));
    let seconds = began.elapsed().as_secs_f64();
    (0..slots).for_each(|id| assert!(engine.cancel(id), "no answer has ended"));
    seconds
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
