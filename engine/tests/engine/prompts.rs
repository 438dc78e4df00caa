//! Log probabilities of a prompt: what the model would have given its tokens, the same bits however the request is run.

use engine::{Completion, Dtype, Engine, ModelSource, Options, Prompt, Request, TokenLogprob};

use crate::tiny::{DRAFTING, drain, engine, greedy, options, random, run};

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::Int8];

fn prompt() -> Vec<u32> {
    (0..150).map(|index| (index * 29 + 5) % 256).collect()
}

fn subject() -> Request {
    Request { prompt_logprobs: Some(5), logprobs: Some(5), ..random(4711, prompt(), 30) }
}

fn assert_same(a: &Completion, b: &Completion, what: &str) {
    assert_eq!(a.token_ids, b.token_ids, "{what}");
    let bits =
        |token: &TokenLogprob| [token.logprob].into_iter().chain(token.top.iter().map(|top| top.logprob)).map(f32::to_bits).collect();
    let all = |completion: &Completion| -> Vec<(u32, u32, Vec<u32>)> {
        let both = [&completion.prompt_logprobs, &completion.logprobs].map(|tokens| tokens.as_deref().unwrap());
        both.into_iter().flatten().map(|token| (token.id, token.rank, bits(token))).collect()
    };
    assert_eq!(all(a), all(b), "{what}");
    assert_eq!(a.usage.cached, 0, "{what}");
}

#[test]
fn each_is_what_the_token_has_as_an_answer_to_those_before_it() {
    let mut engine = engine(&options());
    let prompt = prompt();
    let scored = run(&mut engine, subject()).prompt_logprobs.unwrap();
    assert_eq!(scored.iter().map(|token| token.id).collect::<Vec<_>>(), prompt[1..]);
    let mut unlikely = 0;
    for (index, token) in scored.iter().enumerate() {
        let before = Prompt::Tokens(prompt[..=index].to_vec());
        // A bias that decides what is drawn is no part of the log probability.
        let sampling = engine::Sampling { logit_bias: vec![(token.id, 1e6)], ..greedy(before.clone(), 1).sampling };
        let drawn = run(&mut engine, Request { logprobs: Some(5), sampling, ..greedy(before, 1) }).logprobs.unwrap().remove(0);
        assert_eq!(*token, drawn, "token {index}");
        let place = token.top.iter().position(|top| top.id == token.id);
        assert!(place.map_or(token.rank > 5, |place| place + 1 == token.rank as usize), "token {index}");
        unlikely += usize::from(place.is_none());
    }
    assert!(unlikely > 0);
}

#[test]
fn a_prompt_of_one_token_has_none_and_no_alternatives_may_be_asked_for() {
    let mut engine = engine(&options());
    let scored = |tokens: Vec<u32>| Request { prompt_logprobs: Some(0), ..random(1, tokens, 3) };
    assert_eq!(run(&mut engine, scored(vec![7])).prompt_logprobs, Some(vec![]));
    let two = run(&mut engine, scored(vec![7, 8])).prompt_logprobs.unwrap();
    assert_eq!((two.len(), two[0].id, two[0].top.len()), (1, 8, 0));
    assert_eq!(run(&mut engine, random(1, vec![7, 8], 3)).prompt_logprobs, None);
}

#[test]
fn whatever_the_chunks_the_pages_the_threads_and_the_cache() {
    for dtype in DTYPES {
        let options = Options { dtype, ..options() };
        let reference = run(&mut engine(&Options { slots_max: 1, prefix_cache: false, threads: 1, ..options.clone() }), subject());
        for (step_tokens_max, page_tokens, threads) in [(1, 1, 1), (5, 3, 2), (63, 16, 3), (64, 7, 1), (65, 8, 2), (1024, 2048, 2)] {
            let mut engine = engine(&Options { slots_max: 1, step_tokens_max, page_tokens, threads, ..options.clone() });
            // The second finds all that the first has left, and the third what the second has.
            for time in 0..3 {
                let what = format!("{dtype:?}, chunks of {step_tokens_max}, pages of {page_tokens}, time {time}");
                assert_same(&run(&mut engine, subject()), &reference, &what);
            }
            let plain = run(&mut engine, Request { prompt_logprobs: None, ..subject() });
            assert_eq!((plain.token_ids, plain.logprobs), (reference.token_ids.clone(), reference.logprobs.clone()));
        }
    }
}

#[test]
fn in_company_after_giving_way_and_with_drafts() {
    for (dtype, draft_slots_max) in DTYPES.into_iter().flat_map(|dtype| [(dtype, 0), (dtype, 8)]) {
        let load = |options: &Options| Engine::load(&ModelSource::Embedded(DRAFTING), options).unwrap();
        let options = Options { dtype, draft_slots_max, page_tokens: 4, ..options() };
        let alone = run(&mut load(&Options { draft_slots_max: 0, prefix_cache: false, ..options.clone() }), subject());
        let mut gave_way = 0;
        for companions in [1, 3, 7] {
            // Older requests grow until the subject gives way, wherever it is.
            let mut engine = load(&Options { cache_tokens: 240, step_tokens_max: 24, ..options.clone() });
            for id in 0..companions {
                engine.add(id + 1, random(id, prompt()[..10 + id as usize].to_vec(), 60)).unwrap();
            }
            engine.step();
            engine.add(0, subject()).unwrap();
            engine.add(99, subject()).unwrap();
            let together = drain(&mut engine);
            gave_way += engine.preemptions();
            for id in [0, 99] {
                assert_same(&together[&id], &alone, &format!("{dtype:?}, request {id}, {companions} companions, {draft_slots_max} drafts"));
            }
            assert_eq!(engine.drafts().proposed > 0, draft_slots_max > 0);
        }
        assert!(gave_way > 0);
    }
}
