//! Who computes what in the next step: running requests by age, prompts in pieces, and the youngest gives way when
//! pages run out.

use std::collections::VecDeque;

use crate::batch::Batch;
use crate::kv::Pages;
use crate::sequence::Sequence;

/// All requests inside the engine, and the pages they hold.
pub(crate) struct Schedule {
    pages: Pages,
    slots_max: usize,
    step_tokens_max: usize,
    /// In the order of admission.
    running: Vec<Sequence>,
    /// In the order of arrival, requests that had to give way first. They hold no pages.
    waiting: VecDeque<Sequence>,
    /// Pages that a request fills by its end, as a moving average.
    usual_pages: f64,
}

impl Schedule {
    pub(crate) fn new(pages: Pages, slots_max: usize, step_tokens_max: usize) -> Schedule {
        let slots_max = slots_max.max(1);
        Schedule {
            usual_pages: (pages.total() as f64 / slots_max as f64).max(1.0),
            pages,
            slots_max,
            // Every running request can draw a token in every step.
            step_tokens_max: step_tokens_max.max(slots_max),
            running: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.running.len() + self.waiting.len() >= self.slots_max
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.running.iter().chain(&self.waiting).any(|sequence| sequence.id == id)
    }

    /// How many more requests of the usual size would run at once.
    pub(crate) fn room(&self) -> usize {
        if !self.waiting.is_empty() {
            return 0;
        }
        let spoken_for = |sequence: &Sequence| self.usual_pages.max(sequence.pages.len() as f64);
        let spare = self.pages.total() as f64 - self.running.iter().map(spoken_for).sum::<f64>();
        // A hair above, so that an even share of the pages counts as a whole one.
        let by_pages = (spare.max(0.0) / self.usual_pages + 1e-6) as usize;
        let by_slots = self.slots_max - self.running.len();
        // An empty engine takes any request that it accepts at all.
        by_pages.max(usize::from(self.running.is_empty())).min(by_slots)
    }

    pub(crate) fn add(&mut self, sequence: Sequence) {
        self.waiting.push_back(sequence);
    }

    pub(crate) fn cancel(&mut self, id: u64) -> bool {
        if let Some(index) = self.waiting.iter().position(|sequence| sequence.id == id) {
            self.waiting.remove(index);
            return true;
        }
        let Some(index) = self.running.iter().position(|sequence| sequence.id == id) else {
            return false;
        };
        let mut sequence = self.running.remove(index);
        self.pages.release(&mut sequence.pages);
        true
    }

    /// Fills the batch: one token for every request that draws, and pieces of prompts with what the step has left.
    pub(crate) fn plan(&mut self, batch: &mut Batch) {
        self.admit();
        batch.clear(self.pages.page_tokens());
        let drawing = self.running.iter().filter(|sequence| sequence.pending() == 1).count();
        let mut prompt_tokens = self.step_tokens_max - drawing;
        let mut index = 0;
        while index < self.running.len() {
            let pending = self.running[index].pending();
            let tokens = if pending == 1 { 1 } else { pending.min(prompt_tokens) };
            if tokens > 0 && self.make_way(index, tokens) {
                let sequence = &self.running[index];
                let end = sequence.computed + tokens;
                batch.push(index, sequence.computed, &sequence.tokens[sequence.computed..end], &sequence.pages, tokens == pending);
                prompt_tokens -= if pending == 1 { 0 } else { tokens };
            }
            index += 1;
        }
    }

    /// Books what the batch has computed; `draw` gives a sequence its next token and tells whether that ended it.
    pub(crate) fn commit<T>(&mut self, batch: &Batch, mut draw: impl FnMut(&mut Sequence) -> Option<T>) -> Vec<T> {
        let mut ended = Vec::new();
        let mut outcomes = Vec::new();
        for span in &batch.spans {
            let sequence = &mut self.running[span.sequence];
            sequence.computed += span.tokens;
            if sequence.pending() == 0
                && let Some(outcome) = draw(sequence)
            {
                outcomes.push(outcome);
                ended.push(span.sequence);
            }
        }
        for index in ended.into_iter().rev() {
            let mut sequence = self.running.remove(index);
            self.usual_pages += (sequence.pages.len() as f64 - self.usual_pages) / 16.0;
            self.pages.release(&mut sequence.pages);
        }
        debug_assert!(self.is_balanced(), "a page is lost or has two owners");
        outcomes
    }

    /// Every page is free or held by one running request, and waiting requests hold none.
    fn is_balanced(&self) -> bool {
        let held: usize = self.running.iter().map(|sequence| sequence.pages.len()).sum();
        let mut pages: Vec<u32> = self.running.iter().flat_map(|sequence| &sequence.pages).copied().collect();
        pages.sort_unstable();
        pages.dedup();
        let distinct = pages.len() == held;
        distinct && held + self.pages.free() == self.pages.total() && self.waiting.iter().all(|sequence| sequence.pages.is_empty())
    }

    /// Lets waiting requests in, in their order, while the pages for all that is known of them are there.
    fn admit(&mut self) {
        let outstanding = |sequence: &Sequence| self.pages.needed(sequence.tokens.len()) - sequence.pages.len();
        let mut spare = self.pages.free().saturating_sub(self.running.iter().map(outstanding).sum());
        while self.running.len() < self.slots_max
            && let Some(next) = self.waiting.front()
        {
            let Some(left) = spare.checked_sub(self.pages.needed(next.tokens.len())) else {
                return;
            };
            spare = left;
            self.running.extend(self.waiting.pop_front());
        }
    }

    /// Gets a request the pages for its next tokens; the youngest go back to waiting until there are enough. False if
    /// it had to go itself.
    fn make_way(&mut self, index: usize, tokens: usize) -> bool {
        loop {
            let sequence = &mut self.running[index];
            let end = sequence.computed + tokens;
            if self.pages.extend(&mut sequence.pages, end) {
                return true;
            }
            let Some(mut youngest) = self.running.pop() else {
                return false;
            };
            self.pages.release(&mut youngest.pages);
            youngest.restart();
            self.waiting.push_front(youngest);
            if index == self.running.len() {
                return false;
            }
        }
    }
}
