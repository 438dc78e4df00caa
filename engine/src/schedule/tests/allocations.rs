//! Planning and booking a step takes nothing from the heap. What the model and the sampler take is not counted here.

use super::{Scene, drawn, mix, options};
use crate::allocations;
use crate::options::Options;

#[test]
fn a_step_is_planned_and_booked_without_the_heap_even_where_requests_wait_and_pages_are_forgotten() {
    let mut scene = Scene::new(&Options { look_ahead: 4, ..options(90) });
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
    let Scene { schedule, batch, .. } = &mut scene;
    let known = schedule.pages.known(&[5; 80]).pages;
    for step in 0..30 {
        let before = allocations::count();
        schedule.plan(batch);
        let ended: Vec<()> = schedule.commit(batch, |sequence| {
            sequence.tokens.push(drawn(mix(step, sequence.id as u32)));
            None
        });
        assert_eq!((allocations::count() - before, ended.len(), batch.rows.len()), (0, 0, 8), "step {step}");
    }
    assert_eq!((schedule.running.len(), schedule.waiting.len()), (8, 2));
    assert!(schedule.pages.known(&[5; 80]).pages < known);
}
