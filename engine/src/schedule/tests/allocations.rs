//! Planning and booking a step takes nothing from the heap. What the model and the sampler take is not counted here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::{Scene, drawn, mix, options};
use crate::options::Options;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread asks for.
struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `GlobalAlloc`'s promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

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
        let before = ALLOCATIONS.get();
        schedule.plan(batch);
        let ended: Vec<()> = schedule.commit(batch, |sequence| {
            sequence.tokens.push(drawn(mix(step, sequence.id as u32)));
            None
        });
        assert_eq!((ALLOCATIONS.get() - before, ended.len(), batch.rows.len()), (0, 0, 8), "step {step}");
    }
    assert_eq!((schedule.running.len(), schedule.waiting.len()), (8, 2));
    assert!(schedule.pages.known(&[5; 80]).pages < known);
}
