//! Requests come, run, give way, are cancelled; all end, and nothing is left over.

use std::collections::HashMap;

use engine::{Engine, Finished, Format, Options, Request};

use crate::tiny::{drain, engine, options, random, run};

/// Numbers from a seed, so that a failing schedule can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// Some of one of three beginnings, then something of its own.
    fn prompt(&mut self) -> Vec<u32> {
        let family = self.below(3) as u32;
        let mut prompt: Vec<u32> = (0..self.below(40) as u32).map(|index| (index * 7 + family) % 256).collect();
        prompt.extend((0..1 + self.below(20)).map(|_| self.below(256) as u32));
        prompt
    }

    /// Ended by its length, by a stop string or by a format.
    fn request(&mut self, seed: u64) -> Request {
        let request = random(seed, self.prompt(), 1 + self.below(60) as u32);
        let request = Request { prompt_logprobs: (self.below(6) == 0).then_some(2), ..request };
        match self.below(8) {
            0 => Request { format: Some(Format::Regex("[a-z]{20}".to_owned())), ignore_eos: false, ..request },
            1 => Request { stop: vec!["e".to_owned()], ..request },
            _ => request,
        }
    }
}

fn small() -> Options {
    Options { cache_tokens: 120, page_tokens: 4, slots_max: 9, look_ahead: 3, step_tokens_max: 10, ..options() }
}

/// A request that needs every page succeeds only if none is lost.
fn assert_whole(engine: &mut Engine) {
    assert!(engine.is_idle());
    engine.add(u64::MAX, random(0, vec![1; 60], 60)).unwrap();
    assert_eq!(drain(engine)[&u64::MAX].usage.completion, 60);
}

#[test]
fn every_request_of_a_random_schedule_ends_once_with_the_answer_that_it_gets_alone() {
    let mut alone = engine(&Options { prefix_cache: false, slots_max: 1, ..options() });
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let mut engine = engine(&small());
        let mut live = HashMap::new();
        let mut check = |finished: Finished, live: &mut HashMap<u64, Request>| {
            let request = live.remove(&finished.id).unwrap();
            let ours = finished.outcome.unwrap();
            let alone = run(&mut alone, request);
            assert_eq!(ours.token_ids, alone.token_ids, "request {} of seed {seed}", finished.id);
            assert_eq!(ours.prompt_logprobs, alone.prompt_logprobs, "request {} of seed {seed}", finished.id);
            ours.usage.cached
        };
        let (mut cached, mut cancelled) = (0, 0);
        for id in 0..120 {
            let request = dice.request(id);
            match engine.add(id, request.clone()) {
                Ok(()) => assert!(live.insert(id, request).is_none()),
                Err(refusal) => assert_eq!(refusal.code, "engine_full"),
            }
            for _ in 0..dice.below(8) {
                cached += engine.step().into_iter().map(|finished| check(finished, &mut live)).sum::<u32>();
            }
            let victim = dice.below(id + 1);
            if dice.below(5) == 0 {
                assert_eq!(engine.cancel(victim), live.remove(&victim).is_some());
                cancelled += 1;
            }
            if dice.below(20) == 0 {
                engine.withdraw().iter().for_each(|id| assert!(live.remove(id).is_some()));
            }
            assert!(engine.is_balanced());
        }
        while !engine.is_idle() {
            cached += engine.step().into_iter().map(|finished| check(finished, &mut live)).sum::<u32>();
        }
        assert!(live.is_empty() && cached > 0 && cancelled > 0 && engine.preemptions() > 0);
        assert_whole(&mut engine);
    }
}

#[test]
fn a_late_request_joins_and_a_short_one_leaves_while_others_run() {
    let mut engine = engine(&options());
    engine.add(1, random(1, vec![1; 10], 40)).unwrap();
    assert!(engine.step().is_empty());
    engine.add(2, random(2, vec![2; 10], 3)).unwrap();
    let ended: Vec<u64> = (0..3).flat_map(|_| engine.step()).map(|finished| finished.id).collect();
    assert_eq!(ended, [2]);
    assert!(!engine.is_idle());
}

#[test]
fn a_long_prompt_does_not_hold_up_those_that_draw() {
    let mut engine = engine(&Options { step_tokens_max: 10, slots_max: 8, ..options() });
    engine.add(1, random(1, vec![1], 12)).unwrap();
    engine.step();
    engine.add(2, random(2, vec![2; 400], 1)).unwrap();
    let steps = (1..).find(|_| !engine.step().is_empty());
    assert_eq!(steps, Some(11));
}

#[test]
fn a_cancelled_request_never_ends_and_its_id_is_free_again() {
    let mut engine = engine(&options());
    engine.add(1, random(1, vec![1; 10], 40)).unwrap();
    assert!(engine.add(1, random(1, vec![1], 4)).is_err());
    engine.step();
    assert!(engine.cancel(1) && !engine.cancel(1));
    assert!(engine.is_idle() && engine.step().is_empty());
    engine.add(1, random(1, vec![1], 4)).unwrap();
    assert_eq!(drain(&mut engine).len(), 1);
}

#[test]
fn room_is_slots_and_look_ahead_and_what_has_not_started_can_be_taken_back() {
    let mut engine = engine(&small());
    assert_eq!(engine.room(), 12);
    for id in 0..12 {
        assert_eq!(engine.room(), 12 - id as usize);
        engine.add(id, random(id, vec![id as u32; 50], 3)).unwrap();
    }
    assert_eq!(engine.add(12, random(12, vec![1], 3)).unwrap_err().code, "engine_full");
    engine.step();
    // The prompt of one is more than a step's work, so nobody else has started.
    assert_eq!(engine.withdraw(), (1..12).collect::<Vec<_>>());
    assert_eq!(engine.room(), 11);
    assert_eq!(drain(&mut engine).len(), 1);
}
