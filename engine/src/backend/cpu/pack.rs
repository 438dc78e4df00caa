//! From rows of f32 to the words of a [`Matrix`](super::matrix::Matrix), a panel at a time, on all threads.

use std::mem::MaybeUninit;
use std::sync::Arc;

use crate::backend::cpu::format::{Format, OFFSET};
use crate::backend::cpu::kernel::{PANEL, Words};
use crate::backend::cpu::matrix::Layout;
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::slab::Slab;
use crate::backend::cpu::vector::Width;

/// Numbers of each row that are converted together: what they become stays in the first-level cache until all rows have them.
const PIECE: usize = 64;

/// The words of a matrix whose rows `row` writes.
pub(super) fn pack(pool: &Pool, width: Width, layout: Layout, row: impl Fn(usize, &mut [f32]) + Sync) -> Slab {
    let mut words: Arc<[MaybeUninit<Words>]> = Arc::new_uninit_slice(layout.panels() * layout.stride());
    let together = pool.share(layout.panels());
    let tasks = Arc::make_mut(&mut words).chunks_mut(together * layout.stride()).enumerate();
    pool.split_rows(layout.outputs * layout.inputs, tasks, |(task, slots)| {
        let mut rows = vec![0.0; PANEL * layout.inputs];
        for (panel, slots) in slots.chunks_exact_mut(layout.stride()).enumerate() {
            let first = (task * together + panel) * PANEL;
            let outputs = first..layout.outputs.min(first + PANEL);
            let rows = &mut rows[..outputs.len() * layout.inputs];
            outputs.zip(rows.chunks_exact_mut(layout.inputs)).for_each(|(output, out)| row(output, out));
            pack_panel(width, layout, rows, slots);
        }
    });
    // SAFETY: the chunks are all slots, and `pack_panel` writes every slot that it is given.
    Slab::from(unsafe { words.assume_init() })
}

/// Writes every slot of a panel. In the last panel there may be fewer rows.
fn pack_panel(width: Width, layout: Layout, rows: &[f32], slots: &mut [MaybeUninit<Words>]) {
    let Layout { format, inputs, .. } = layout;
    let (mut steps, mut sums) = ([1.0; PANEL], [0i32; PANEL]);
    for (step, row) in steps.iter_mut().zip(rows.chunks_exact(inputs)) {
        *step = format.step(width, row);
    }
    let (places, rest) = slots.split_at_mut(layout.words());
    for (piece, places) in places.chunks_mut(PIECE / format.per_word()).enumerate() {
        let mut block = [Words([0; PANEL]); PIECE];
        for (lane, row) in rows.chunks_exact(inputs).enumerate() {
            let numbers = &row[piece * PIECE..inputs.min((piece + 1) * PIECE)];
            format.encode(width, numbers, steps[lane], 0, |words| {
                words.iter().zip(&mut block).for_each(|(word, place)| place.0[lane] = *word);
                if format == Format::Int8 {
                    sums[lane] += words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| i32::from(byte.cast_signed())).sum::<i32>();
                }
            });
        }
        for (place, words) in places.iter_mut().zip(block) {
            place.write(words);
        }
    }
    let surplus = sums.map(|sum| OFFSET.wrapping_mul(sum).cast_unsigned());
    for (place, words) in rest.iter_mut().zip([steps.map(f32::to_bits), surplus]) {
        place.write(Words(words));
    }
}
