//! A draft layer that guesses right two times out of three, and sees to it that what it looks at was written for these very tokens.

use super::{Dice, PAGE_TOKENS, Scene, drawn, mix, options};
use crate::draft::DraftBatch;
use crate::options::Options;
use crate::sequence::Sequence;

/// For each slot the state before a token, and the token.
pub(super) struct Layer {
    cache: Vec<(u64, u32)>,
    dice: Dice,
}

impl Layer {
    pub(super) fn new(slots: usize) -> Layer {
        Layer { cache: vec![(0, 0); slots], dice: Dice(1) }
    }

    /// `states` are those of the step's rows.
    pub(super) fn compute(&mut self, drafts: &DraftBatch, states: &[u64], running: &[Sequence]) -> Vec<Option<u32>> {
        let entries = &drafts.entries;
        for ((row, token), state) in entries.rows.iter().zip(&entries.tokens).zip(&drafts.states) {
            self.cache[entries.slot(*row)] = (states[*state as usize], *token);
        }
        let mut guesses = Vec::new();
        for row in &drafts.asking.rows {
            let sequence = &running[drafts.asking.spans[row.span].sequence];
            assert_eq!(row.position + 2, sequence.tokens.len(), "it asks for what follows the latest token");
            assert!(sequence.tokens.len() + 2 <= sequence.limits.tokens_max, "nobody needs it");
            let states = states_after(&sequence.tokens);
            let slots: Vec<usize> = drafts.asking.context(*row).flatten().collect();
            for (position, slot) in (row.position + 1 - slots.len()..).zip(slots) {
                let (state, token) = self.cache[slot];
                assert_eq!(state, states[position], "an entry of other tokens at {position} of request {}", sequence.id);
                // Who shares a page may go on otherwise after it.
                assert!(token == sequence.tokens[position + 1] || (position + 1).is_multiple_of(PAGE_TOKENS));
            }
            let right = drawn(states[row.position + 1]);
            guesses.push(Some(if self.dice.below(3) > 0 { right } else { (right + 1) % 3 }));
        }
        guesses
    }
}

fn states_after(tokens: &[u32]) -> Vec<u64> {
    let mut state = 7;
    let after = |token: &u32| {
        state = mix(state, *token);
        state
    };
    tokens.iter().map(after).collect()
}

fn scene(draft_slots_max: usize) -> Scene {
    Scene::new(&Options { draft_slots_max, ..options(100) })
}

/// Runs until idle, and returns the number of steps.
fn steps(scene: &mut Scene) -> usize {
    let mut steps = 0;
    while !scene.schedule.is_idle() {
        scene.step();
        steps += 1;
    }
    steps
}

#[test]
fn every_draft_that_is_drawn_saves_a_step() {
    let [without, with] = [0, 1].map(|draft_slots_max| {
        let mut scene = scene(draft_slots_max);
        scene.add(1, vec![1; 50], 60);
        (steps(&mut scene), scene.schedule.draft_counts())
    });
    assert_eq!((without.1.proposed, without.1.accepted), (0, 0));
    let (steps, drafts) = with;
    assert!(drafts.accepted > drafts.proposed / 2 && drafts.accepted < drafts.proposed, "{drafts:?}");
    assert_eq!(steps, without.0 - drafts.accepted as usize);
}

#[test]
fn an_answer_of_two_tokens_gets_no_draft() {
    let mut scene = scene(8);
    (1..3).for_each(|id| scene.add(id, vec![id as u32; 10], id as usize));
    steps(&mut scene);
    assert_eq!(scene.schedule.draft_counts().proposed, 0);
}

#[test]
fn drafts_begin_when_few_enough_run_and_look_at_nothing_from_before() {
    let mut scene = scene(2);
    for id in 1..4 {
        scene.add(id, vec![id as u32; 10], 10 * id as usize);
    }
    while scene.schedule.running.len() != 2 {
        scene.step();
        assert_eq!(scene.schedule.draft_counts().proposed, 0);
    }
    scene.drain();
    assert!(scene.schedule.draft_counts().accepted > 5);
}

#[test]
fn of_a_remembered_prefix_only_what_the_draft_layer_has_computed_is_looked_at() {
    let mut scene = scene(1);
    let prompt = |family: u32, id: u64| (0..40).map(|index| 100 * family + index).chain([id as u32]).collect();
    // Two at once get no drafts.
    (1..3).for_each(|id| scene.add(id, prompt(id as u32, id), 20));
    scene.drain();
    for (id, family, cached, looked_at) in [(3, 1, 40, 1), (4, 3, 0, 41), (5, 3, 40, 41)] {
        scene.add(id, prompt(family, id), 20);
        while scene.drafts.asking.is_empty() {
            scene.step();
        }
        let slots = scene.drafts.asking.context(scene.drafts.asking.rows[0]).flatten();
        assert_eq!((scene.schedule.running[0].cached, slots.count()), (Some(cached), looked_at), "request {id}");
        scene.drain();
    }
}

#[test]
fn a_page_that_is_replaced_by_its_twin_is_not_looked_at() {
    // Too many run for drafts, and what they leave is remembered. Then two prompts that are computed side by side meet in the answer.
    let mut scene = scene(2);
    (1..4).for_each(|id| scene.add(id, vec![7; 9], 40));
    scene.drain();
    (1..3).for_each(|id| scene.add(id, vec![7; 9], 40));
    scene.drain();
    assert!(scene.schedule.draft_counts().accepted > 0);
}

#[test]
fn a_draft_does_not_take_the_place_of_a_token() {
    let mut scene = Scene::new(&Options { step_tokens_max: 1, slots_max: 1, draft_slots_max: 1, ..options(100) });
    scene.add(1, vec![1; 5], 20);
    assert_eq!(steps(&mut scene), 24);
    assert_eq!(scene.schedule.draft_counts().proposed, 0);
}
