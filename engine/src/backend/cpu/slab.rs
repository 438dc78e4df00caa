//! The words of a matrix, wherever they lie: in memory of their own, or in the map of a file that keeps them.

use std::ops::Deref;
use std::slice;
use std::sync::Arc;

use memmap2::Mmap;

use crate::backend::cpu::kernel::Words;

/// Words that never change; clones share them.
#[derive(Clone)]
pub(super) struct Slab(Place);

#[derive(Clone)]
enum Place {
    Memory(Arc<[Words]>),
    /// From this byte on, so many.
    File(Arc<Mmap>, usize, usize),
}

impl From<Arc<[Words]>> for Slab {
    fn from(words: Arc<[Words]>) -> Slab {
        Slab(Place::Memory(words))
    }
}

impl Slab {
    /// So many words from byte `start` of a file on; None if they are not all there, or do not begin where words may.
    pub(super) fn in_file(map: &Arc<Mmap>, start: usize, count: usize) -> Option<Slab> {
        let end = count.checked_mul(size_of::<Words>())?.checked_add(start)?;
        let aligned = (map.as_ptr() as usize + start).is_multiple_of(align_of::<Words>());
        (aligned && end <= map.len()).then(|| Slab(Place::File(map.clone(), start, count)))
    }

    /// The same, as they are written into a file.
    pub(super) fn as_bytes(&self) -> &[u8] {
        // SAFETY: words are plain numbers, with nothing between them.
        unsafe { slice::from_raw_parts(self.as_ptr().cast(), size_of_val::<[Words]>(self)) }
    }
}

impl Deref for Slab {
    type Target = [Words];

    fn deref(&self) -> &[Words] {
        match &self.0 {
            Place::Memory(words) => words,
            // SAFETY: `in_file` has seen that they are there and aligned, and any bits are words. A file that is cut short
            // while it is mapped raises SIGBUS, as in every program that maps its model.
            Place::File(map, start, count) => unsafe { slice::from_raw_parts(map.as_ptr().add(*start).cast(), *count) },
        }
    }
}
