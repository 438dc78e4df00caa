//! Ten thousand requests of every kind against the engine itself, in a cache that is far too small for them, with cancels, aborts and
//! withdrawals at any moment: the books of the cache are read after every step, and the memory of the process is compared.

mod requests;

use std::{collections::BTreeMap, fs, time::Instant};

use engine::{Completion, Engine, Finished, ModelSource, Options, Request};
use tests::servers::repository;

use crate::figures::Figures;
use requests::{Dice, Wish, wish};

const REQUESTS: u64 = 10_000;
/// By then everything has happened, and what is kept for good is there.
const SETTLED: u64 = 1_000;
/// One answer of so many is computed again, alone.
const SAMPLE: u64 = 10;
/// Many times what it takes: an engine that gets nowhere is given up.
const STEPS_MAX: usize = 200_000;
/// What may come with rarer formats and a heap in pieces. Beyond 20,000 requests nothing is added.
const GROWTH_MEBIBYTES: f64 = 6.0;

pub(crate) fn prove(figures: &mut Figures) {
    let began = Instant::now();
    let mut trial = Trial::new();
    let mut settled = 0.0;
    for id in 0..REQUESTS {
        if id == SETTLED {
            settled = resident_mebibytes();
        }
        trial.ask(id);
        trial.disturb(id);
    }
    while !trial.engine.is_idle() && trial.steps < STEPS_MAX {
        trial.step();
    }
    let (growth, ends) = (resident_mebibytes() - settled, trial.ends);

    figures.at_least("requests that ended, each once", ends.total() as f64, REQUESTS as f64);
    figures.note("answered", ends.answered as f64);
    figures.note("cancelled, one by one", ends.cancelled as f64);
    figures.note("cancelled, all at once", ends.aborted as f64);
    figures.note("given back before they had started", ends.withdrawn as f64);
    figures.note("refused", ends.refused as f64);
    figures.at_most("requests that were lost, ended twice or failed", (trial.faults + trial.live.len()) as f64, 0.0);
    figures.at_least("preemptions", trial.engine.preemptions() as f64, 1_000.0);
    figures.note("steps", trial.steps as f64);
    figures.at_most("moments at which the books of the cache were not in order", trial.unbalanced as f64, 0.0);
    figures.at_least("answers computed again alone", trial.compared as f64, 400.0);
    figures.at_most("of them different", trial.different as f64, 0.0);
    figures.note("resident memory after the first 1000 requests, MiB", settled);
    figures.at_most("growth of it until the end, MiB", growth, GROWTH_MEBIBYTES);
    figures.note("seconds", began.elapsed().as_secs_f64());
}

/// An engine under attack, one that computes every request alone, and what is known of the requests.
struct Trial {
    engine: Engine,
    alone: Engine,
    dice: Dice,
    /// The requests inside the engine; those of the sample can be asked again.
    live: BTreeMap<u64, Option<Request>>,
    ends: Ends,
    faults: usize,
    steps: usize,
    unbalanced: usize,
    compared: usize,
    different: usize,
}

/// How requests have ended.
#[derive(Clone, Copy, Default)]
struct Ends {
    answered: usize,
    cancelled: usize,
    aborted: usize,
    withdrawn: usize,
    refused: usize,
}

impl Ends {
    fn total(self) -> usize {
        self.answered + self.cancelled + self.aborted + self.withdrawn + self.refused
    }
}

impl Trial {
    fn new() -> Self {
        let nano = ModelSource::Directory(repository("models/millrace-nano"));
        // Two of the longest requests fill the cache, and sixteen may run.
        let small = Options { cache_tokens: 512, page_tokens: 8, slots_max: 16, look_ahead: 16, step_tokens_max: 48, ..Options::default() };
        let alone = Options { slots_max: 1, prefix_cache: false, page_tokens: 64, draft_slots_max: 0, ..small.clone() };
        let load = |options: &Options| Engine::load(&nano, options).expect("millrace-nano loads");
        Self {
            engine: load(&small),
            alone: load(&alone),
            dice: Dice(1),
            live: BTreeMap::new(),
            ends: Ends::default(),
            faults: 0,
            steps: 0,
            unbalanced: 0,
            compared: 0,
            different: 0,
        }
    }

    /// Brings the next request; one that finds no room comes again after a step.
    fn ask(&mut self, id: u64) {
        let Wish { request, is_sound } = wish(&mut self.dice);
        while self.steps < STEPS_MAX {
            let kept = id.is_multiple_of(SAMPLE).then(|| request.clone());
            match self.engine.add(id, request.clone()) {
                Ok(()) => self.faults += usize::from(!is_sound || self.live.insert(id, kept).is_some()),
                Err(refusal) if refusal.code == "engine_full" => {
                    self.step();
                    continue;
                }
                Err(_) => {
                    self.ends.refused += 1;
                    self.faults += usize::from(is_sound);
                }
            }
            return self.look_at_the_books();
        }
    }

    /// What callers do meanwhile: most let the engine work, some change their minds, and now and then everything is given up.
    fn disturb(&mut self, latest: u64) {
        match self.dice.below(200) {
            0 => {
                let everything: Vec<u64> = self.live.keys().copied().collect();
                everything.into_iter().for_each(|id| self.ends.aborted += self.cancel(id));
            }
            1 => {
                for id in self.engine.withdraw() {
                    self.ends.withdrawn += 1;
                    self.faults += usize::from(self.live.remove(&id).is_none());
                }
            }
            2..40 => {
                // Some of them have ended, or were never here.
                let id = latest.saturating_sub(self.dice.below(40));
                self.ends.cancelled += self.cancel(id);
            }
            _ => (0..self.dice.below(4)).for_each(|_| self.step()),
        }
        self.look_at_the_books();
    }

    fn cancel(&mut self, id: u64) -> usize {
        let (was_here, known) = (self.engine.cancel(id), self.live.remove(&id).is_some());
        self.faults += usize::from(was_here != known);
        self.look_at_the_books();
        usize::from(was_here)
    }

    fn step(&mut self) {
        let finished = self.engine.step();
        self.steps += 1;
        self.look_at_the_books();
        for Finished { id, outcome } in finished {
            match (self.live.remove(&id), outcome) {
                (Some(kept), Ok(answer)) => {
                    self.ends.answered += 1;
                    kept.into_iter().for_each(|request| self.compare(id, request, &answer));
                }
                (None, _) | (_, Err(_)) => self.faults += 1,
            }
        }
    }

    fn compare(&mut self, id: u64, request: Request, answer: &Completion) {
        self.alone.add(id, request).expect("what the crowded engine took");
        let mut finished = Vec::new();
        while !self.alone.is_idle() {
            finished.extend(self.alone.step());
        }
        let again = finished.pop().expect("it ends").outcome.expect("an answer");
        let same = again.token_ids == answer.token_ids
            && (again.text, again.reasoning, again.finish_reason, again.logprobs)
                == (answer.text.clone(), answer.reasoning.clone(), answer.finish_reason, answer.logprobs.clone());
        self.compared += 1;
        self.different += usize::from(!same);
    }

    fn look_at_the_books(&mut self) {
        self.unbalanced += usize::from(!self.engine.is_balanced());
    }
}

/// Memory of this process that lies in RAM.
fn resident_mebibytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the resident memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}
