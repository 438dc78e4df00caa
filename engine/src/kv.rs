//! The pages of the cache: who holds them, which are found again by their tokens (`kv/tree.rs`), and in which order those
//! that nobody holds are forgotten (`kv/idle.rs`). What is written in a page belongs to the backend.

mod idle;
mod tree;

use std::ops::Range;

use idle::Idle;
use tree::Tree;

/// All pages. Each is free, held by one request or more, or idle: held by none, but remembered by its tokens.
pub(crate) struct Pages {
    page_tokens: usize,
    free: Vec<u32>,
    /// How many requests hold each page.
    holders: Vec<u32>,
    /// Which pages hold entries of the draft layer for all of their tokens.
    drafted: Vec<bool>,
    /// The remembered pages; none where nothing is to be remembered.
    tree: Option<Tree>,
    idle: Idle,
}

/// How far the beginning of a request is remembered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    pub(crate) pages: usize,
    /// The last of them.
    pub(crate) last: Option<u32>,
}

impl Pages {
    /// As many whole pages as `cache_tokens` fill, at least one.
    pub(crate) fn new(cache_tokens: usize, page_tokens: usize, remember: bool) -> Pages {
        let page_tokens = page_tokens.max(1);
        let total = (cache_tokens / page_tokens).clamp(1, u32::MAX as usize - 1);
        Pages {
            page_tokens,
            free: (0..total as u32).rev().collect(),
            holders: vec![0; total],
            drafted: vec![false; total],
            tree: remember.then(|| Tree::new(total, page_tokens)),
            idle: Idle::new(total),
        }
    }

    pub(crate) fn page_tokens(&self) -> usize {
        self.page_tokens
    }

    /// Tokens that all pages hold together.
    pub(crate) fn capacity(&self) -> usize {
        self.holders.len() * self.page_tokens
    }

    /// Whether what one request computes is found by another.
    pub(crate) fn remembers(&self) -> bool {
        self.tree.is_some()
    }

    /// Pages that can be had now: the free ones, and the idle ones, which are forgotten for it.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Pages that hold this many tokens.
    pub(crate) fn needed(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.page_tokens)
    }

    /// How far these tokens are remembered. The last token never is: whoever asks wants what follows it.
    pub(crate) fn known(&self, tokens: &[u32]) -> Known {
        self.path(tokens).fold(Known::default(), |known, page| Known { pages: known.pages + 1, last: Some(page) })
    }

    /// How many of the available pages a request for these tokens takes that finds what is remembered of `findable`, their
    /// beginning: what others hold costs nothing.
    pub(crate) fn cost(&self, tokens: &[u32], findable: &[u32]) -> usize {
        let shared = self.path(findable).filter(|page| self.holders[*page as usize] > 0).count();
        self.needed(tokens.len()) - shared
    }

    /// Takes the remembered pages of these tokens into an empty `held`; returns the number of tokens they hold.
    pub(crate) fn find(&mut self, held: &mut Vec<u32>, tokens: &[u32]) -> usize {
        held.extend(self.path(tokens));
        held.iter().for_each(|page| self.hold(*page));
        held.len() * self.page_tokens
    }

    /// Extends `held` until it covers `tokens`; takes nothing if there are not enough pages.
    pub(crate) fn extend(&mut self, held: &mut Vec<u32>, tokens: usize) -> bool {
        let missing = self.needed(tokens).saturating_sub(held.len());
        if missing > self.available() {
            return false;
        }
        for _ in 0..missing {
            let Some(page) = self.free.pop().or_else(|| self.forget()) else { return false };
            self.drafted[page as usize] = false;
            self.hold(page);
            held.push(page);
        }
        true
    }

    /// Remembers the pages that the tokens from `before` to `computed` have filled. A page that had been computed elsewhere
    /// at the same time takes the place of its twin here: whoever holds a page holds all that lead to it in the tree.
    /// Returns the number of tokens up to the end of the last page that was replaced.
    pub(crate) fn remember(&mut self, held: &mut [u32], tokens: &[u32], before: usize, computed: usize) -> usize {
        let mut replaced = 0;
        for index in before / self.page_tokens..computed / self.page_tokens {
            let Some(tree) = &mut self.tree else { break };
            let parent = index.checked_sub(1).map(|parent| held[parent]);
            let block = &tokens[index * self.page_tokens..][..self.page_tokens];
            match tree.child(parent, block) {
                Some(twin) => {
                    self.hold(twin);
                    let own = std::mem::replace(&mut held[index], twin);
                    self.let_go(own);
                    replaced = (index + 1) * self.page_tokens;
                }
                None => tree.insert(held[index], parent, block),
            }
        }
        replaced
    }

    /// Notes which pages have been filled with entries of the draft layer, now that it has them for all `drafted` tokens and not only
    /// for those up to `before`. What a page holds for its last token may be meant for another one after it, which is a guess like all else.
    pub(crate) fn note_drafted(&mut self, held: &[u32], drafted: Range<usize>, before: usize) {
        let first = drafted.start.div_ceil(self.page_tokens).max(before / self.page_tokens);
        for page in held.iter().take(drafted.end / self.page_tokens).skip(first) {
            self.drafted[*page as usize] = true;
        }
    }

    /// Where the pages in a row begin that lie right before a page's end at `tokens` and hold entries of the draft layer.
    pub(crate) fn drafted_from(&self, held: &[u32], tokens: usize) -> usize {
        let before = &held[..tokens / self.page_tokens];
        let drafted = before.iter().rev().take_while(|page| self.drafted[**page as usize]).count();
        (before.len() - drafted) * self.page_tokens
    }

    /// Takes all pages back, the last first, so that a page is never forgotten before those that it leads to.
    pub(crate) fn release(&mut self, held: &mut Vec<u32>) {
        while let Some(page) = held.pop() {
            self.let_go(page);
        }
    }

    /// Whether the books balance with requests that hold this many pages together, a shared page counted for each.
    pub(crate) fn balances(&self, held: usize) -> bool {
        let taken = self.holders.iter().filter(|holders| **holders > 0).count();
        let held_here: usize = self.holders.iter().map(|holders| *holders as usize).sum();
        let rooted = self.tree.iter().all(Tree::is_rooted);
        rooted && held_here == held && taken + self.free.len() + self.idle.len() == self.holders.len()
    }

    fn path(&self, tokens: &[u32]) -> impl Iterator<Item = u32> {
        let before_last = &tokens[..tokens.len().saturating_sub(1)];
        self.tree.iter().flat_map(|tree| tree.path(before_last))
    }

    fn hold(&mut self, page: u32) {
        let holders = &mut self.holders[page as usize];
        *holders += 1;
        if *holders == 1 {
            self.idle.remove(page);
        }
    }

    fn let_go(&mut self, page: u32) {
        let holders = &mut self.holders[page as usize];
        *holders -= 1;
        if *holders == 0 {
            match self.tree.as_ref().is_some_and(|tree| tree.contains(page)) {
                true => self.idle.push(page),
                false => self.free.push(page),
            }
        }
    }

    /// Makes the page that was idle for longest a blank one.
    fn forget(&mut self) -> Option<u32> {
        let page = self.idle.pop()?;
        self.tree.iter_mut().for_each(|tree| tree.remove(page));
        Some(page)
    }
}

#[cfg(test)]
mod tests;
