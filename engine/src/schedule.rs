//! Who computes what in the next step: running requests by age, prompts in pieces, drafts while few run, and the youngest gives way
//! when pages run out. In which order requests are let in is in `waiting.rs`.

use crate::batch::{Batch, Span};
use crate::draft::{DraftBatch, DraftCounts};
use crate::kv::Pages;
use crate::options::Options;
use crate::sequence::Sequence;
use crate::waiting::Waiting;

/// Tokens of prompts to score in one step: each takes a row of logits, which is as wide as the vocabulary.
const STEP_SCORES_MAX: usize = 64;

/// All requests inside the engine, and the pages they hold.
pub(crate) struct Schedule {
    pages: Pages,
    slots_max: usize,
    /// Requests that run or wait.
    places: usize,
    step_tokens_max: usize,
    draft_slots_max: usize,
    /// Few enough run in this step.
    drafting: bool,
    draft_counts: DraftCounts,
    /// In the order of admission.
    running: Vec<Sequence>,
    waiting: Waiting,
    /// How often a running request has had to give way.
    preemptions: u64,
}

impl Schedule {
    pub(crate) fn new(pages: Pages, options: &Options) -> Schedule {
        let slots_max = options.slots_max.max(1);
        Schedule {
            pages,
            slots_max,
            places: slots_max + options.look_ahead,
            // Every running request can draw a token in every step.
            step_tokens_max: options.step_tokens_max.max(slots_max),
            draft_slots_max: options.draft_slots_max,
            drafting: false,
            draft_counts: DraftCounts::default(),
            running: Vec::new(),
            waiting: Waiting::new(options.overtaken_max),
            preemptions: 0,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.len() == 0
    }

    pub(crate) fn room(&self) -> usize {
        self.places - self.running.len() - self.waiting.len()
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.running.iter().chain(self.waiting.iter()).any(|sequence| sequence.id == id)
    }

    pub(crate) fn add(&mut self, sequence: Sequence) {
        self.waiting.add(sequence);
    }

    pub(crate) fn cancel(&mut self, id: u64) -> bool {
        if let Some(index) = self.running.iter().position(|sequence| sequence.id == id) {
            self.pages.release(&mut self.running.remove(index).pages);
            return true;
        }
        self.waiting.remove(id).is_some()
    }

    pub(crate) fn withdraw(&mut self) -> Vec<u64> {
        self.waiting.withdraw()
    }

    /// Fills the batch: one token for every request that draws, drafts and pieces of prompts with what the step has left.
    pub(crate) fn plan(&mut self, batch: &mut Batch) {
        self.admit();
        batch.clear(self.pages.page_tokens());
        self.drafting = self.running.len() <= self.draft_slots_max;
        let drawing = self.running.iter().filter(|sequence| sequence.pending() == 1).count();
        let mut left = self.step_tokens_max - drawing;
        let mut spare = self.spare();
        let mut scores_left = STEP_SCORES_MAX;
        let mut index = 0;
        while index < self.running.len() {
            let pending = self.running[index].pending();
            let most = if self.running[index].unscored().is_empty() { left } else { left.min(scores_left) };
            let tokens = if pending == 1 { 1 } else { pending.min(most) };
            if tokens > 0 && self.make_way(index, tokens) {
                left -= if pending == 1 { 0 } else { tokens };
                let draft = if tokens == pending && left > 0 { self.draft(index, &mut spare) } else { None };
                left -= usize::from(draft.is_some());
                let sequence = &self.running[index];
                let end = sequence.computed + tokens;
                batch.push(index, sequence.computed, &sequence.tokens[sequence.computed..end], &sequence.pages, tokens == pending);
                draft.into_iter().for_each(|draft| batch.push_draft(draft));
                let unscored = sequence.unscored();
                let scored = unscored.start.max(sequence.computed)..unscored.end.min(end);
                scores_left -= scored.len();
                batch.score(scored);
            }
            index += 1;
        }
    }

    /// Books what the batch has computed; `take` gives a sequence the logits of this place, to score a token of its prompt or to draw
    /// the next one, and tells whether that ended it. From what is left, `drafts` are to be made.
    pub(crate) fn commit<T>(
        &mut self,
        batch: &Batch,
        drafts: &mut DraftBatch,
        mut take: impl FnMut(&mut Sequence, usize) -> Option<T>,
    ) -> Vec<T> {
        let mut ended = Vec::new();
        let mut outcomes = Vec::new();
        drafts.clear(self.pages.page_tokens());
        for span in &batch.spans {
            if let Some(outcome) = self.book(span, &mut take) {
                outcomes.push(outcome);
                ended.push(span.sequence);
            } else if self.drafting {
                // By the time they are made, those that have ended are gone.
                drafts.push(span.sequence - ended.len(), &mut self.running[span.sequence], &mut self.pages, batch, span);
            }
        }
        for index in ended.into_iter().rev() {
            self.pages.release(&mut self.running.remove(index).pages);
        }
        debug_assert!(self.is_balanced(), "a page is lost or has an owner that does not know of it");
        outcomes
    }

    /// Notes the guesses for the requests that asked.
    pub(crate) fn note(&mut self, drafts: &DraftBatch, guesses: impl Iterator<Item = Option<u32>>) {
        for (span, guess) in drafts.asking.spans.iter().zip(guesses) {
            self.running[span.sequence].draft = guess;
        }
    }

    pub(crate) fn draft_counts(&self) -> DraftCounts {
        self.draft_counts
    }

    /// A request's draft, if drafts are made; where it needs a page, that is one to `spare`: nobody gives way to a guess.
    fn draft(&mut self, index: usize, spare: &mut usize) -> Option<u32> {
        let sequence = &mut self.running[index];
        let draft = sequence.draft.filter(|_| self.drafting && sequence.has_use_for_draft())?;
        let end = sequence.tokens.len() + 1;
        *spare = spare.checked_sub(self.pages.needed(end) - sequence.pages.len())?;
        self.pages.extend(&mut sequence.pages, end).then_some(draft)
    }

    /// Books what one request has computed, scores its prompt and draws its next token; if that is its draft, which is computed as well, one more.
    fn book<T>(&mut self, span: &Span, take: &mut impl FnMut(&mut Sequence, usize) -> Option<T>) -> Option<T> {
        let sequence = &mut self.running[span.sequence];
        let is_drafted = span.sampled.len() > 1;
        sequence.compute(span.rows.len() - usize::from(is_drafted), &mut self.pages);
        let failed = span.scored.clone().find_map(|place| take(sequence, place));
        if failed.is_some() || span.sampled.is_empty() {
            return failed;
        }
        let outcome = take(sequence, span.sampled.start);
        let is_right = sequence.draft.take().is_some() && is_drafted;
        self.draft_counts.proposed += u64::from(is_drafted);
        self.draft_counts.accepted += u64::from(is_right);
        if outcome.is_some() || !is_right {
            return outcome;
        }
        sequence.compute(1, &mut self.pages);
        take(sequence, span.sampled.start + 1)
    }

    pub(crate) fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// Whether every page is free, remembered, or held by just those requests that know of it.
    pub(crate) fn is_balanced(&self) -> bool {
        let held = self.running.iter().map(|sequence| sequence.pages.len()).sum();
        self.pages.balances(held) && self.waiting.iter().all(|sequence| sequence.pages.is_empty())
    }

    /// Lets waiting requests in while a slot is free, the step has work left to give, and pages are there for all that is
    /// known of them.
    fn admit(&mut self) {
        if self.waiting.len() == 0 || self.running.len() == self.slots_max || self.spare() == 0 {
            return;
        }
        self.waiting.look_up(&self.pages);
        while self.running.len() < self.slots_max
            && self.running.iter().map(Sequence::pending).sum::<usize>() < self.step_tokens_max
            && let Some(mut sequence) = self.waiting.pop(&self.running, &self.pages, self.spare())
        {
            sequence.start(&mut self.pages);
            self.running.push(sequence);
        }
    }

    /// Pages that nobody holds and that no running request needs for what is known of it.
    fn spare(&self) -> usize {
        let outstanding = |sequence: &Sequence| self.pages.needed(sequence.tokens.len()) - sequence.pages.len();
        self.pages.available().saturating_sub(self.running.iter().map(outstanding).sum())
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
            self.preemptions += 1;
            self.waiting.put_back(youngest);
            if index == self.running.len() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests;
