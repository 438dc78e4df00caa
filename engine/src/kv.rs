//! The pages of the cache: who may write where. What is written there belongs to the backend.

/// All pages, free or given out. A page has one owner.
pub(crate) struct Pages {
    page_tokens: usize,
    total: usize,
    free: Vec<u32>,
}

impl Pages {
    /// As many whole pages as `cache_tokens` fill, at least one.
    pub(crate) fn new(cache_tokens: usize, page_tokens: usize) -> Pages {
        let page_tokens = page_tokens.max(1);
        let total = (cache_tokens / page_tokens).clamp(1, u32::MAX as usize);
        Pages { page_tokens, total, free: (0..total as u32).rev().collect() }
    }

    pub(crate) fn page_tokens(&self) -> usize {
        self.page_tokens
    }

    /// Tokens that all pages hold together.
    pub(crate) fn capacity(&self) -> usize {
        self.total * self.page_tokens
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Pages that hold this many tokens.
    pub(crate) fn needed(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.page_tokens)
    }

    /// Extends `held` until it covers `tokens`; takes nothing if there are not enough pages.
    pub(crate) fn extend(&mut self, held: &mut Vec<u32>, tokens: usize) -> bool {
        let missing = self.needed(tokens).saturating_sub(held.len());
        let Some(rest) = self.free.len().checked_sub(missing) else {
            return false;
        };
        held.extend(self.free.drain(rest..).rev());
        true
    }

    /// Takes all pages back.
    pub(crate) fn release(&mut self, held: &mut Vec<u32>) {
        self.free.append(held);
    }
}
