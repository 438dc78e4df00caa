//! Who waits, and who of them is let in next: the one whose beginning is remembered best, then the one whose answer may become
//! longest; but nobody is overtaken for ever. Whether it fits is decided in `schedule.rs`.

use std::cmp::Reverse;
use std::collections::VecDeque;

use crate::kv::Pages;
use crate::sequence::Sequence;

/// Requests that hold no pages: those that had to give way, then the others in the order of arrival.
pub(crate) struct Waiting {
    sequences: VecDeque<Sequence>,
    /// How many later requests may be let in before a request.
    overtaken_max: u32,
}

impl Waiting {
    pub(crate) fn new(overtaken_max: u32) -> Waiting {
        Waiting { sequences: VecDeque::new(), overtaken_max }
    }

    pub(crate) fn len(&self) -> usize {
        self.sequences.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.sequences.iter()
    }

    pub(crate) fn add(&mut self, sequence: Sequence) {
        self.sequences.push_back(sequence);
    }

    /// Puts one that had to give way before all others; it is not overtaken any more.
    pub(crate) fn put_back(&mut self, mut sequence: Sequence) {
        sequence.overtaken = u32::MAX;
        self.sequences.push_front(sequence);
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Sequence> {
        let index = self.sequences.iter().position(|sequence| sequence.id == id)?;
        self.sequences.remove(index)
    }

    /// Takes out those that have never run.
    pub(crate) fn withdraw(&mut self) -> Vec<u64> {
        let fresh: Vec<u64> = self.iter().filter(|sequence| sequence.cached.is_none()).map(|sequence| sequence.id).collect();
        self.sequences.retain(|sequence| sequence.cached.is_some());
        fresh
    }

    /// Looks up how far each request is remembered now.
    pub(crate) fn look_up(&mut self, pages: &Pages) {
        for sequence in &mut self.sequences {
            sequence.known = pages.known(sequence.findable());
        }
    }

    /// Lets the next request out of the line, as of the last [`Waiting::look_up`]: none if it costs more pages than `spare`,
    /// and none while everybody's next page is being computed for somebody else. It will be found in a moment, and is not
    /// computed twice.
    pub(crate) fn pop(&mut self, running: &[Sequence], pages: &Pages, spare: usize) -> Option<Sequence> {
        let index = self.next(running, pages)?;
        let next = &self.sequences[index];
        if pages.cost(&next.tokens, next.findable()) > spare {
            return None;
        }
        for passed in self.sequences.range_mut(..index) {
            passed.overtaken = passed.overtaken.saturating_add(1);
        }
        self.sequences.remove(index)
    }

    fn next(&self, running: &[Sequence], pages: &Pages) -> Option<usize> {
        let in_hand = |sequence: &Sequence| running.iter().any(|other| other.computes_next_page_of(sequence, pages.page_tokens()));
        let ready = |sequence: &Sequence| !(pages.remembers() && in_hand(sequence));
        let front = self.sequences.front()?;
        if front.overtaken >= self.overtaken_max {
            return ready(front).then_some(0);
        }
        let candidates = self.sequences.iter().enumerate().filter(|(_, sequence)| ready(sequence));
        let best = candidates.max_by_key(|(index, sequence)| (sequence.known.pages, sequence.answer_max(), Reverse(*index)));
        best.map(|(index, _)| index)
    }
}
