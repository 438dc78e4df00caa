//! The idle pages from the longest idle to the latest: a list threaded through arrays, so that it never allocates.

/// Pages in a ring with one place more, which is both the beginning and the end.
pub(super) struct Idle {
    /// For each page the next one; itself if it is not in the list.
    next: Vec<u32>,
    previous: Vec<u32>,
    len: usize,
}

impl Idle {
    pub(super) fn new(pages: usize) -> Idle {
        let alone: Vec<u32> = (0..=pages as u32).collect();
        Idle { next: alone.clone(), previous: alone, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a page that is not here as the latest.
    pub(super) fn push(&mut self, page: u32) {
        let end = self.end();
        let last = self.previous[end as usize];
        self.join(last, page);
        self.join(page, end);
        self.len += 1;
    }

    /// Takes a page out if it is here.
    pub(super) fn remove(&mut self, page: u32) {
        let (previous, next) = (self.previous[page as usize], self.next[page as usize]);
        if next != page {
            self.join(previous, next);
            self.join(page, page);
            self.len -= 1;
        }
    }

    /// Takes the page that was idle for longest.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let first = self.next[self.end() as usize];
        self.remove(first);
        (first != self.end()).then_some(first)
    }

    fn end(&self) -> u32 {
        self.next.len() as u32 - 1
    }

    fn join(&mut self, page: u32, next: u32) {
        self.next[page as usize] = next;
        self.previous[next as usize] = page;
    }
}
