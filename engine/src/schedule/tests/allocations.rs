//! Planning and booking a step takes nothing from the heap. What the model and the sampler take is not counted here.

use super::{Scene, options};
use crate::allocations;
use crate::options::Options;
use crate::sequence::Sequence;

#[test]
fn a_step_is_planned_and_booked_without_the_heap_even_where_requests_wait_and_pages_are_forgotten() {
    check(0, 30);
}

#[test]
fn nor_with_drafts() {
    check(8, 12);
}

/// Drafts are all right, so that every step gives two tokens.
fn check(draft_slots_max: usize, steps: usize) {
    let mut scene = Scene::new(&Options { look_ahead: 4, draft_slots_max, ..options(82) });
    let fill = |scene: &mut Scene, token: u32| {
        (0..10).for_each(|id| scene.add(id, (0..6).map(|index| index + 10 * id as u32 + token).collect(), 36));
    };
    // The batch has been as large before.
    fill(&mut scene, 1000);
    scene.drain();
    // An idle prefix, to be forgotten while the eight that run grow; two wait for a slot.
    scene.add(99, vec![5; 80], 1);
    scene.drain();
    fill(&mut scene, 2000);
    (0..4).for_each(|_| drop(scene.step()));
    let Scene { schedule, batch, drafts, .. } = &mut scene;
    let known = schedule.pages.known(&[5; 80]).pages;
    let token = |sequence: &Sequence, place: usize| (sequence.id as usize * 7 + place * place) as u32 % 3;
    for step in 0..steps {
        let before = allocations::count();
        schedule.plan(batch);
        let ended: Vec<()> = schedule.commit(batch, drafts, |sequence, _| {
            sequence.push(token(sequence, sequence.tokens.len()));
            None
        });
        let mut guesses = [None; 8];
        for (guess, span) in guesses.iter_mut().zip(&drafts.asking.spans) {
            let sequence = &schedule.running[span.sequence];
            *guess = Some(token(sequence, sequence.tokens.len()));
        }
        schedule.note(drafts, guesses.into_iter());
        assert_eq!((allocations::count() - before, ended.len()), (0, 0), "step {step}");
        assert_eq!(batch.rows.len(), if draft_slots_max > 0 { 16 } else { 8 }, "step {step}");
    }
    assert_eq!((schedule.running.len(), schedule.waiting.len()), (8, 2));
    assert!(schedule.pages.known(&[5; 80]).pages < known);
}
