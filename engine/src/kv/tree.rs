//! The prefix tree: full pages by the tokens in them and by the page before. Who holds them does not matter here.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// A radix tree whose edges are blocks of a page's tokens; its nodes are the pages themselves.
pub(super) struct Tree {
    page_tokens: usize,
    /// `[pages][page_tokens]`
    tokens: Vec<u32>,
    /// For each page the one before it, or what it is instead.
    places: Vec<Place>,
    /// All pages in the tree by place and tokens.
    children: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// Where a page stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Outside,
    /// The page before it; none for the first of a prompt.
    After(Option<u32>),
}

impl Tree {
    pub(super) fn new(pages: usize, page_tokens: usize) -> Tree {
        Tree {
            page_tokens,
            tokens: vec![0; pages * page_tokens],
            places: vec![Place::Outside; pages],
            // With twice the room the table tidies itself up in place and never grows.
            children: HashTable::with_capacity(2 * pages),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub(super) fn contains(&self, page: u32) -> bool {
        self.places[page as usize] != Place::Outside
    }

    /// The page that holds this block after `parent`.
    pub(super) fn child(&self, parent: Option<u32>, block: &[u32]) -> Option<u32> {
        let place = Place::After(parent);
        let same = |page: &u32| self.places[*page as usize] == place && self.block(*page) == block;
        self.children.find(self.hasher.hash_one((place, block)), same).copied()
    }

    /// The pages of the longest remembered prefix.
    pub(super) fn path(&self, tokens: &[u32]) -> impl Iterator<Item = u32> {
        let mut parent = None;
        tokens.chunks_exact(self.page_tokens).map_while(move |block| {
            parent = self.child(parent, block);
            parent
        })
    }

    /// Adds a page; none may hold the same block after the same parent.
    pub(super) fn insert(&mut self, page: u32, parent: Option<u32>, block: &[u32]) {
        let place = Place::After(parent);
        self.places[page as usize] = place;
        self.tokens[page as usize * self.page_tokens..][..self.page_tokens].copy_from_slice(block);
        let Tree { page_tokens, tokens, places, children, hasher } = self;
        let block = |page: u32| &tokens[page as usize * *page_tokens..][..*page_tokens];
        let hash = |page: &u32| hasher.hash_one((places[*page as usize], block(*page)));
        children.insert_unique(hash(&page), page, hash);
    }

    /// Takes out a page that leads to no other.
    pub(super) fn remove(&mut self, page: u32) {
        let hash = self.hasher.hash_one((self.places[page as usize], self.block(page)));
        if let Ok(entry) = self.children.find_entry(hash, |other| *other == page) {
            entry.remove();
        }
        self.places[page as usize] = Place::Outside;
    }

    /// Whether every page's parent is here.
    pub(super) fn is_rooted(&self) -> bool {
        self.places.iter().all(|place| !matches!(place, Place::After(Some(parent)) if !self.contains(*parent)))
    }

    fn block(&self, page: u32) -> &[u32] {
        &self.tokens[page as usize * self.page_tokens..][..self.page_tokens]
    }
}
