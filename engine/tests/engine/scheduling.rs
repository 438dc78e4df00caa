//! Requests come, run, give way, are cancelled; all end, and nothing is left over.

use std::collections::HashSet;

use engine::{Engine, Options};

use crate::tiny::{drain, engine, options, random};

/// Numbers from a seed, so that a failing schedule can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn prompt(&mut self, length_max: u64) -> Vec<u32> {
        (0..1 + self.below(length_max)).map(|_| self.below(256) as u32).collect()
    }
}

fn small() -> Options {
    Options { cache_tokens: 120, page_tokens: 4, slots_max: 9, step_tokens_max: 10, ..options() }
}

/// A request that needs every page succeeds only if none is lost.
fn assert_whole(engine: &mut Engine) {
    assert!(engine.is_idle());
    engine.add(u64::MAX, random(0, vec![1; 60], 60)).unwrap();
    assert_eq!(drain(engine)[&u64::MAX].usage.completion, 60);
}

#[test]
fn every_request_of_a_random_schedule_ends_once_and_no_page_is_lost() {
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let mut engine = engine(&small());
        let mut live = HashSet::new();
        let (mut ended, mut cancelled) = (0, 0);
        for id in 0..120 {
            let (prompt, length) = (dice.prompt(60), 1 + dice.below(60) as u32);
            match engine.add(id, random(id, prompt, length)) {
                Ok(()) => assert!(live.insert(id)),
                Err(refusal) => assert_eq!(refusal.code, "engine_full"),
            }
            for _ in 0..dice.below(8) {
                for finished in engine.step() {
                    assert!(finished.outcome.is_ok() && live.remove(&finished.id));
                    ended += 1;
                }
            }
            let victim = dice.below(id + 1);
            if dice.below(5) == 0 {
                assert_eq!(engine.cancel(victim), live.remove(&victim));
                cancelled += 1;
            }
        }
        let rest = drain(&mut engine);
        assert_eq!(rest.keys().copied().collect::<HashSet<_>>(), live);
        assert!(ended > 0 && cancelled > 0);
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
fn room_is_all_slots_when_idle_and_shrinks_with_the_pages_in_use() {
    let mut engine = engine(&small());
    assert_eq!(engine.room(), 9);
    for id in 0..9 {
        assert!(engine.room() > 0);
        engine.add(id, random(id, vec![1; 10], 3)).unwrap();
        engine.step();
        if engine.room() == 0 {
            break;
        }
    }
    engine.step();
    drain(&mut engine);
    assert!(engine.room() >= 9);
    engine.add(1, random(1, vec![1; 100], 10)).unwrap();
    for _ in 0..10 {
        engine.step();
    }
    assert!(engine.room() < 8, "a request that fills the cache leaves room for {}", engine.room());
}
