//! Requests for several answers, on the shipped model.

use std::{fs, path::PathBuf};

use domain::{
    answer::Choice,
    request::{Endpoint, Request},
};
use tokio::sync::mpsc;

use super::*;

/// A bench that steps when it is told to, and what it says.
struct Scene {
    bench: Bench,
    inference: Inference,
}

fn nano() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../models/millrace-nano").into()
}

/// Two choices run at once, one more waits in the engine, and all start in the order of arrival.
fn options() -> Options {
    Options { threads: 1, slots_max: 2, look_ahead: 1, overtaken_max: 0, cache_tokens: 2048, page_tokens: 8, ..Options::default() }
}

impl Scene {
    fn new() -> Self {
        Self::of(nano(), &options())
    }

    fn of(model: PathBuf, options: &Options) -> Self {
        let engine = Engine::load(&ModelSource::Directory(model), options).unwrap();
        let (inference, ends) = Inference::connect(served("nano".to_owned(), &engine, options));
        Self { bench: Bench::new(engine, EngineTime::default(), ends), inference }
    }

    fn obey(&mut self, command: Command) -> &mut Self {
        self.bench.obey(command).unwrap();
        self
    }

    /// Takes in a completion of so many tokens for each choice, with further fields.
    fn take(&mut self, ticket: Ticket, tokens: u32, fields: &str) -> &mut Self {
        self.obey(Command::Run(Box::new(job(ticket, tokens, fields))))
    }

    fn steps(&mut self, count: usize) -> &mut Self {
        (0..count).for_each(|_| self.bench.step().unwrap());
        self
    }

    /// Steps until something has become of a request.
    fn event(&mut self) -> Event {
        loop {
            match self.inference.events.try_recv() {
                Ok(event) => return event,
                Err(mpsc::error::TryRecvError::Empty) => drop(self.steps(1)),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn answer(&mut self, expected: Ticket) -> Answer {
        match self.event() {
            Event::Ended(ticket, Ok(answer)) if ticket == expected => answer,
            other => panic!("{other:?} instead of the answer to {expected}"),
        }
    }

    /// All that was to be said has been said, and nothing is left anywhere.
    fn assert_empty(&mut self) {
        assert!(self.bench.engine.is_idle() && self.bench.waiting.is_empty() && self.bench.gathered.is_empty());
        assert!(self.inference.events.try_recv().is_err());
    }
}

fn job(ticket: Ticket, tokens: u32, fields: &str) -> Job {
    let body =
        format!(r#"{{"model":"nano","prompt":"Invoice no: INV-20411","max_tokens":{tokens},"ignore_eos":true,"logprobs":1{fields}}}"#);
    Job { ticket, request: Request::parse(Endpoint::Completions, body.as_bytes()).unwrap(), alone: false }
}

#[test]
fn each_choice_is_what_its_seed_gives_alone_also_in_company_and_the_prompt_counts_once() {
    // The seeds -1, 0, 1, 2 and 3, each without a neighbour and without what another has left in the cache.
    let alone: Vec<Answer> =
        (-1..4).map(|seed| Scene::new().take(1, 12, &format!(r#","temperature":1,"seed":{seed}"#)).answer(1)).collect();
    let expected: Vec<Choice> = alone.iter().flat_map(|answer| answer.choices.clone()).collect();
    assert!(expected.windows(2).all(|pair| pair[0].token_ids != pair[1].token_ids));

    let mut scene = Scene::new();
    let five = r#","temperature":1,"seed":-1,"n":5"#;
    let first = scene.take(1, 12, five).answer(1);
    assert_eq!(first.choices, expected);
    assert_eq!((first.usage.prompt, first.usage.cached, first.usage.completion), (alone[0].usage.prompt, 0, 5 * 12));
    assert_eq!(first.prompt_token_ids, alone[0].prompt_token_ids);

    scene.take(2, 5, r#","n":2"#).take(3, 12, five).take(4, 90, "").answer(2);
    let again = scene.answer(3);
    assert_eq!(again.choices, expected);
    assert!(again.usage.cached > 0);
}

#[test]
fn log_probabilities_of_the_prompt_come_once_whatever_the_choices() {
    let mut scene = Scene::new();
    let one = scene.take(1, 3, r#","prompt_logprobs":2"#).answer(1);
    let places = one.prompt_logprobs.clone().unwrap();
    assert_eq!(places.iter().map(|place| place[0].id).collect::<Vec<_>>(), one.prompt_token_ids[1..]);
    assert!(places.iter().all(|place| (place[1].rank, place[2].rank, place.len()) == (1, 2, 3)));
    let three = scene.take(2, 3, r#","prompt_logprobs":2,"n":3"#).answer(2);
    assert_eq!((three.choices.len(), three.prompt_logprobs), (3, one.prompt_logprobs));
    assert_eq!(scene.take(3, 3, "").answer(3).prompt_logprobs, None);
}

#[test]
fn at_temperature_zero_all_choices_are_equal() {
    let answer = Scene::new().take(1, 12, r#","temperature":0,"n":3"#).answer(1);
    assert_eq!(answer.choices, vec![answer.choices[0].clone(); 3]);
}

#[test]
fn a_request_that_is_cancelled_or_cleared_leaves_nothing_of_any_choice() {
    let mut scene = Scene::new();
    scene.take(1, 300, r#","n":16"#).steps(5).obey(Command::Cancel(1)).assert_empty();
    scene.take(2, 3, "").answer(2);
    scene.take(3, 300, r#","n":16"#).take(4, 3, r#","n":2"#).steps(5).obey(Command::Clear);
    assert!(matches!(scene.event(), Event::Cleared));
    scene.assert_empty();
}

#[test]
fn a_request_of_which_a_choice_has_not_started_goes_back_as_a_whole_and_one_that_runs_ends() {
    let mut scene = Scene::of(nano(), &Options { slots_max: 3, ..options() });
    // Of the second, one choice runs and one waits in the engine; the third waits beside it.
    scene.take(1, 40, r#","n":2"#).take(2, 40, r#","n":2"#).take(3, 40, "").steps(10).obey(Command::Withdraw);
    assert!(matches!((scene.event(), scene.event()), (Event::Withdrawn(2), Event::Withdrawn(3))));
    assert_eq!(scene.answer(1).choices.len(), 2);
    scene.assert_empty();
}

#[test]
fn a_choice_that_is_refused_or_fails_is_the_one_end_of_its_request() {
    let mut scene = Scene::new();
    scene.take(1, 3, r#","n":3,"logit_bias":{"999999":1}"#).take(2, 3, r#","n":2"#);
    assert!(matches!(scene.event(), Event::Ended(1, Err(error)) if error.status == 400));
    scene.answer(2);
    scene.assert_empty();

    // Every weight is not a number, so both choices that run fail in the same step.
    let broken = tempfile::tempdir().unwrap();
    for file in fs::read_dir(nano()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), broken.path().join(file.file_name())).unwrap();
    }
    let weights = broken.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    bytes[header..].fill(0xff);
    fs::write(&weights, bytes).unwrap();
    let mut scene = Scene::of(broken.path().to_owned(), &Options { prefix_cache: false, ..options() });
    scene.take(1, 3, r#","n":4"#);
    assert!(matches!(scene.event(), Event::Ended(1, Err(error)) if error.status == 500));
    scene.assert_empty();
}

#[test]
fn a_suspect_runs_alone_but_with_all_its_choices() {
    let mut scene = Scene::new();
    let suspect = Job { alone: true, ..job(2, 40, r#","n":3"#) };
    scene.take(1, 20, r#","n":2"#).obey(Command::Run(Box::new(suspect))).take(3, 1, "");
    scene.answer(1);
    scene.steps(1);
    assert_eq!((scene.bench.engine.room(), scene.bench.waiting.len()), (0, 1));
    scene.answer(2);
    scene.answer(3);
    scene.assert_empty();
}
