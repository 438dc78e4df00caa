//! Memory for caches: zero until it is written, free of cost until then, and in huge pages where the system has them.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::slice;

use memmap2::MmapMut;

use crate::backend::cpu::kernel::Words;

/// Types of which all bits zero are a value.
///
/// # Safety
/// So must all other bits be, and none of them may be padding.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: any bits are a number.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: they are numbers without anything between them.
unsafe impl Plain for Words {}

/// So many values in pages of their own.
pub(super) struct Zeros<T> {
    pages: MmapMut,
    count: usize,
    values: PhantomData<T>,
}

impl<T: Plain> Zeros<T> {
    pub(super) fn new(count: usize) -> Zeros<T> {
        let bytes = count.checked_mul(size_of::<T>()).expect("a cache larger than any memory");
        let pages = MmapMut::map_anon(bytes).expect("memory for the cache");
        // Reads that jump from page to page of 4 KiB wait for their addresses more than for what is there.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        Zeros { pages, count, values: PhantomData }
    }
}

impl<T: Plain> Deref for Zeros<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: there are so many, they begin with a page, and any bits are values.
        unsafe { slice::from_raw_parts(self.pages.as_ptr().cast(), self.count) }
    }
}

impl<T: Plain> DerefMut for Zeros<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast(), self.count) }
    }
}
