//! The schedule under a model that costs nothing: what it writes for a token depends on all tokens before it, read through the
//! page tables, so that a page in wrong hands gives a wrong answer.

mod allocations;
mod drafts;

use std::collections::HashMap;

use super::Schedule;
use crate::answer::Answer;
use crate::batch::{Batch, Row};
use crate::config::GenerationConfig;
use crate::draft::DraftBatch;
use crate::kv::{Known, Pages};
use crate::options::Options;
use crate::request::Sampling;
use crate::sample::Sampler;
use crate::sequence::{Limits, Sequence};

const PAGE_TOKENS: usize = 4;

/// A schedule, a cache of one number for each token, and what was asked of it.
struct Scene {
    schedule: Schedule,
    batch: Batch,
    cache: Vec<u64>,
    drafts: DraftBatch,
    draft_layer: drafts::Layer,
    /// Prompt and length of the answer.
    live: HashMap<u64, (Vec<u32>, usize)>,
    rows_computed: usize,
}

fn options(pages: usize) -> Options {
    Options {
        cache_tokens: pages * PAGE_TOKENS,
        page_tokens: PAGE_TOKENS,
        slots_max: 8,
        step_tokens_max: 24,
        draft_slots_max: 0,
        ..Options::default()
    }
}

fn mix(state: u64, token: u32) -> u64 {
    (state ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// The token that the model draws after this state: few different ones, so that answers begin alike, too.
fn drawn(state: u64) -> u32 {
    (state % 3) as u32
}

fn answer(prompt: &[u32], length: usize) -> Vec<u32> {
    let mut state = prompt.iter().fold(7, |state, token| mix(state, *token));
    let draw = |_| {
        let token = drawn(state);
        state = mix(state, token);
        token
    };
    (0..length).map(draw).collect()
}

impl Scene {
    fn new(options: &Options) -> Scene {
        let pages = Pages::new(options.cache_tokens, options.page_tokens, options.prefix_cache);
        Scene {
            cache: vec![0; pages.capacity()],
            draft_layer: drafts::Layer::new(pages.capacity()),
            schedule: Schedule::new(pages, options),
            batch: Batch::default(),
            drafts: DraftBatch::default(),
            live: HashMap::new(),
            rows_computed: 0,
        }
    }

    fn add(&mut self, id: u64, prompt: Vec<u32>, length: usize) {
        self.schedule.add(Sequence {
            id,
            prompt_tokens: prompt.len(),
            tokens: prompt.clone(),
            computed: 0,
            pages: Vec::new(),
            draft: None,
            drafted: 0..0,
            known: Known::default(),
            cached: None,
            overtaken: 0,
            limits: Limits { tokens_max: prompt.len() + length, tokens_min: 0, stop_ids: Vec::new() },
            sampler: Sampler::new(&Sampling::default(), &GenerationConfig::default(), id).unwrap(),
            answer: Answer::plain(Vec::new()),
            grammar: None,
            has_tools: false,
            logprobs: None,
            prompt_logprobs: None,
        });
        self.live.insert(id, (prompt, length));
    }

    /// One step, with every answer that ends in it compared with the true one. Returns the ids that have ended.
    fn step(&mut self) -> Vec<u64> {
        let Scene { schedule, batch, cache, drafts, .. } = self;
        schedule.plan(batch);
        assert!(batch.rows.len() <= schedule.step_tokens_max);
        let mut states = Vec::new();
        for (row, token) in batch.rows.iter().zip(&batch.tokens) {
            let before = row.position.checked_sub(1).map(|position| cache[batch.slot(Row { position, ..*row })]);
            states.push(mix(before.unwrap_or(7), *token));
            cache[batch.slot(*row)] = states[states.len() - 1];
        }
        self.rows_computed += batch.rows.len();
        for span in &batch.spans {
            let last = batch.rows[span.rows.end - 1].position;
            assert!(last + 1 < schedule.running[span.sequence].limits.tokens_max, "no token can follow");
        }
        let ended = schedule.commit(batch, drafts, |sequence, place| {
            sequence.push(drawn(states[batch.sampled[place] as usize]));
            (sequence.tokens.len() == sequence.limits.tokens_max).then(|| (sequence.id, sequence.tokens.split_off(sequence.prompt_tokens)))
        });
        assert!(schedule.is_balanced());
        let guesses = self.draft_layer.compute(drafts, &states, &schedule.running);
        schedule.note(drafts, guesses.into_iter());
        let check = |(id, tokens)| {
            let (prompt, length) = self.live.remove(&id).expect("it ends once");
            assert_eq!(tokens, answer(&prompt, length), "request {id}");
            id
        };
        ended.into_iter().map(check).collect()
    }

    fn cancel(&mut self, id: u64) {
        assert_eq!(self.schedule.cancel(id), self.live.remove(&id).is_some());
        assert!(self.schedule.is_balanced());
    }

    /// Runs until idle, and returns the ids in the order in which they ended.
    fn drain(&mut self) -> Vec<u64> {
        let mut ended = Vec::new();
        while !self.schedule.is_idle() {
            ended.extend(self.step());
        }
        assert!(self.live.is_empty());
        ended
    }

    /// All pages can be had by one request, and are blank afterwards.
    fn assert_whole(&mut self) {
        let (mut held, pages) = (Vec::new(), &mut self.schedule.pages);
        assert!(pages.balances(0) && pages.available() == self.cache.len() / PAGE_TOKENS);
        assert!(pages.extend(&mut held, self.cache.len()));
        pages.release(&mut held);
        assert_eq!(pages.known(&[0; 100]).pages, 0);
        assert!(pages.balances(0));
    }
}

/// Numbers from a seed, so that a failing schedule can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// Some of one of five beginnings, then something of its own.
    fn prompt(&mut self) -> Vec<u32> {
        let family = self.below(5) as u32;
        let shared = self.below(60) as u32;
        let own = 1 + self.below(40);
        (0..shared).map(|index| 100 * family + index).chain((0..own).map(|_| 9)).collect()
    }
}

#[test]
fn ten_thousand_hostile_requests_end_once_with_their_own_answers_and_leave_nothing() {
    for seed in 0..20 {
        let mut dice = Dice(seed);
        // From just enough for the largest request to a comfortable cache.
        let pages = 40 + 4 * seed as usize;
        let options = Options {
            look_ahead: 8,
            prefix_cache: seed % 5 != 4,
            overtaken_max: 2 * seed as u32,
            draft_slots_max: [0, 3, 8][seed as usize % 3],
            ..options(pages)
        };
        let mut scene = Scene::new(&options);
        for id in 0..500 {
            let length = 1 + dice.below(if id % 10 == 0 { 59 } else { 12 }) as usize;
            scene.add(id, dice.prompt(), length);
            while scene.schedule.room() == 0 {
                scene.step();
            }
            match dice.below(100) {
                0 => (0..=id).for_each(|id| scene.cancel(id)),
                1 => scene.schedule.withdraw().iter().for_each(|id| drop(scene.live.remove(id))),
                2..20 => scene.cancel(dice.below(id + 1)),
                _ => (0..dice.below(6)).for_each(|_| drop(scene.step())),
            }
        }
        scene.drain();
        scene.assert_whole();
        let drafts = scene.schedule.draft_counts();
        assert_eq!((drafts.proposed > 0, drafts.accepted > 0), (seed % 3 > 0, seed % 3 > 0));
    }
}

/// Four prefixes of 32 pages, in turn, 48 requests in all; the cache holds less than two of them.
fn four_interleaved_prefixes(overtaken_max: u32) -> (usize, Vec<u64>) {
    let mut scene = Scene::new(&Options { overtaken_max, ..options(60) });
    for id in 0..48 {
        let own = (0..6).map(|index| 1000 + 10 * id as u32 + index);
        let prompt = (0..128).map(|index| 200 * (id as u32 % 4) + index).chain(own);
        scene.add(id, prompt.collect(), 4);
    }
    let order = scene.drain();
    (scene.rows_computed, order)
}

#[test]
fn every_possible_hit_is_taken_where_the_order_of_arrival_takes_none() {
    // A prompt's own six tokens, and all but the last of the answer.
    let own = 48 * (6 + 3);
    assert_eq!(four_interleaved_prefixes(1000).0, 4 * 128 + own);
    assert_eq!(four_interleaved_prefixes(0).0, 48 * 128 + own);
}

#[test]
fn nobody_is_overtaken_more_often_than_allowed() {
    let (_, order) = four_interleaved_prefixes(10);
    for (place, id) in order.iter().enumerate() {
        let overtakers = order[..place].iter().filter(|other| *other > id).count();
        // Those that run side by side may also end in another order.
        assert!(overtakers <= 10 + 8, "request {id} came after {overtakers} later ones");
    }
    let (rows, _) = four_interleaved_prefixes(10);
    assert!(rows < 48 * 128 / 2, "{rows} rows");
}

#[test]
fn requests_that_begin_alike_wait_for_the_first_and_then_run_together() {
    let mut scene = Scene::new(&options(200));
    for id in 0..8 {
        let prompt = (0..40).chain([id as u32]);
        scene.add(id, prompt.collect(), 20);
    }
    scene.step();
    assert_eq!(scene.schedule.running.len(), 1);
    scene.step();
    scene.step();
    assert_eq!(scene.schedule.running.len(), 8);
    assert!(scene.schedule.running.iter().all(|sequence| sequence.cached == Some(if sequence.id == 0 { 0 } else { 40 })));
    scene.drain();
}

#[test]
fn several_answers_to_one_prompt_compute_it_once_up_to_its_last_page() {
    for choices in [1, 2, 5, 16] {
        let mut scene = Scene::new(&options(200));
        (0..choices).for_each(|id| scene.add(id, (0..43).collect(), 20));
        scene.drain();
        // Each computes the three tokens that fill no page, and its answer but the last token.
        assert_eq!(scene.rows_computed, 40 + choices as usize * (3 + 19));
    }
}

#[test]
fn a_request_that_had_to_give_way_finds_its_own_pages_again() {
    let mut scene = Scene::new(&options(16));
    scene.add(1, vec![1; 24], 20);
    scene.add(2, vec![2; 24], 20);
    assert_eq!(scene.drain(), [1, 2]);
    let undisturbed = 2 * (24 + 19);
    let again = scene.rows_computed - undisturbed;
    assert!(again > 0 && again < 24, "{again} rows were computed again");
}

#[test]
fn among_equals_the_answer_that_may_become_longest_starts_first() {
    let mut scene = Scene::new(&Options { slots_max: 1, ..options(50) });
    for (id, length) in [(1, 3), (2, 9), (3, 9), (4, 5)] {
        scene.add(id, vec![id as u32; 3], length);
    }
    assert_eq!(scene.drain(), [2, 3, 4, 1]);
}
