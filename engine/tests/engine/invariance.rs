//! The same request gives the same tokens and the same log probabilities, bit for bit, however it is run.

use engine::{Completion, Dtype, Options, Request};

use crate::tiny::{drain, engine, options, random, run};

const TOKENS: u32 = 40;
pub(crate) const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::Int8];

pub(crate) fn subject() -> Request {
    Request { logprobs: Some(20), ..random(4711, subject_prompt(), TOKENS) }
}

fn subject_prompt() -> Vec<u32> {
    (0..37).map(|index| (index * 29 + 5) % 256).collect()
}

fn alone(options: &Options) -> Completion {
    run(&mut engine(options), subject())
}

pub(crate) fn assert_same(a: &Completion, b: &Completion, what: &str) {
    assert_eq!(a.token_ids, b.token_ids, "{what}");
    let bits = |completion: &Completion| -> Vec<u32> {
        let logprobs = completion.logprobs.as_deref().unwrap();
        logprobs.iter().flat_map(|token| token.top.iter().map(|top| top.logprob.to_bits())).collect()
    };
    assert_eq!(bits(a), bits(b), "{what}");
}

#[test]
fn alone_and_in_a_batch_of_two_hundred_and_fifty_six() {
    for dtype in DTYPES {
        let options = Options { dtype, cache_tokens: 65_536, slots_max: 256, ..options() };
        let mut engine = engine(&options);
        for id in 1..256 {
            let prompt = (0..1 + id as u32 % 50).map(|index| (index * 7 + id as u32) % 256).collect();
            engine.add(id, random(id, prompt, 10 + id as u32 % 60)).unwrap();
            if id == 30 {
                engine.step();
                engine.step();
                engine.add(0, subject()).unwrap();
            }
        }
        let together = drain(&mut engine);
        assert_eq!(together.len(), 256);
        assert_same(&together[&0], &alone(&options), &format!("{dtype:?} in a batch of 256"));
    }
}

#[test]
fn whatever_the_chunks_the_pages_and_the_threads() {
    for dtype in DTYPES {
        let options = Options { dtype, slots_max: 1, ..options() };
        let reference = alone(&Options { step_tokens_max: 1024, page_tokens: 1024, threads: 1, ..options.clone() });
        for (step_tokens_max, page_tokens, threads) in [(1, 1, 1), (5, 3, 2), (16, 16, 3), (64, 7, 4), (37, 2048, 2)] {
            let options = Options { step_tokens_max, page_tokens, threads, ..options.clone() };
            let what = format!("{dtype:?}, chunks of {step_tokens_max}, pages of {page_tokens}, {threads} threads");
            assert_same(&alone(&options), &reference, &what);
        }
    }
}

#[test]
fn with_the_prefix_from_the_cache_and_without() {
    for dtype in DTYPES {
        let without = alone(&Options { dtype, prefix_cache: false, ..options() });
        assert_eq!(without.usage.cached, 0);
        for (page_tokens, step_tokens_max) in [(1, 64), (4, 7), (8, 64), (16, 5)] {
            let mut engine = engine(&Options { dtype, page_tokens, step_tokens_max, slots_max: 4, ..options() });
            // Another request leaves the first half of the prompt in the cache, and the subject itself the rest.
            let branch = subject_prompt().into_iter().take(19).chain([1, 2, 3]).collect();
            run(&mut engine, random(8, branch, 9));
            for known in [19, 36] {
                let again = run(&mut engine, subject());
                let what = format!("{dtype:?}, pages of {page_tokens}, chunks of {step_tokens_max}");
                assert_eq!(again.usage.cached, known / page_tokens as u32 * page_tokens as u32, "{what}");
                assert_same(&again, &without, &what);
            }
        }
    }
}

#[test]
fn after_an_answer_that_its_prompt_continues() {
    let mut engine = engine(&options());
    let first = run(&mut engine, subject());
    let next: Vec<u32> = subject_prompt().into_iter().chain(first.token_ids.iter().copied()).chain([7; 5]).collect();
    let request = || Request { logprobs: Some(20), ..random(5, next.clone(), TOKENS) };
    let continued = run(&mut engine, request());
    // All of the answer but its last token was computed.
    assert_eq!(continued.usage.cached, (37 + TOKENS - 1) / 8 * 8);
    let fresh = run(&mut crate::tiny::engine(&Options { prefix_cache: false, ..options() }), request());
    assert_same(&continued, &fresh, "continued");
}

#[test]
fn preempted_and_undisturbed() {
    for (dtype, prefix_cache) in DTYPES.into_iter().flat_map(|dtype| [(dtype, false), (dtype, true)]) {
        // Room for one and a half of these requests: whoever is younger has to start again, several times over.
        let mut small = engine(&Options { dtype, cache_tokens: 120, prefix_cache, ..options() });
        let prompt = |id: u32| (0..20).map(|index| (index * 31 + id) % 256).collect();
        small.add(1, random(1, prompt(1), 60)).unwrap();
        small.add(0, subject()).unwrap();
        small.add(2, random(2, prompt(2), 60)).unwrap();
        let together = drain(&mut small);
        assert_same(&together[&0], &alone(&Options { dtype, ..options() }), &format!("{dtype:?}, preempted"));
    }
}

#[test]
fn another_seed_gives_another_answer() {
    let mut engine = engine(&options());
    let first = run(&mut engine, random(1, vec![1, 2, 3], 20));
    let second = run(&mut engine, random(2, vec![1, 2, 3], 20));
    assert_ne!(first.token_ids, second.token_ids);
}
