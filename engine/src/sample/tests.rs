//! What is drawn how often, and what settings mean.

use super::*;

fn sampler(sampling: Sampling) -> Sampler {
    Sampler::new(&sampling, &GenerationConfig::default(), 7).unwrap()
}

/// Draws after an answer of these tokens.
fn draw(sampler: &Sampler, logits: &[f32], answer: &[u32], banned: &[u32]) -> Option<u32> {
    sampler.draw(logits, Place { tokens: answer, prompt_tokens: 0 }, &Permit::all_but(banned), &mut Scratch::default())
}

fn drawn(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
    let sampler = sampler(sampling);
    let mut counts = vec![0; logits.len()];
    let mut scratch = Scratch::default();
    let history = vec![0; 10_000];
    for position in 0..10_000 {
        let place = Place { tokens: &history[..position], prompt_tokens: 0 };
        counts[sampler.draw(logits, place, &Permit::all_but(&[]), &mut scratch).unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn temperature_zero_takes_the_lowest_of_equal_best() {
    let greedy = sampler(Sampling { temperature: Some(0.0), ..Sampling::default() });
    assert_eq!(draw(&greedy, &[1.0, 3.0, 3.0], &[], &[]), Some(1));
    assert_eq!(draw(&greedy, &[1.0, 3.0, 3.0], &[], &[1]), Some(2));
}

#[test]
fn frequencies_follow_the_softmax() {
    let logits = [0.0, 2f32.ln(), 5f32.ln(), f32::NEG_INFINITY];
    let counts = drawn(Sampling::default(), &logits);
    for (count, expected) in counts.iter().zip([1250.0, 2500.0, 6250.0, 0.0]) {
        assert!((*count as f64 - expected).abs() < 200.0, "{counts:?}");
    }
}

#[test]
fn truncations_keep_what_they_say() {
    let logits = [0.0, 2f32.ln(), 5f32.ln(), 8f32.ln()];
    let kept = |sampling| drawn(sampling, &logits).iter().map(|count| *count > 0).collect::<Vec<_>>();
    assert_eq!(kept(Sampling { top_k: Some(2), ..Sampling::default() }), [false, false, true, true]);
    assert_eq!(kept(Sampling { min_p: Some(0.2), ..Sampling::default() }), [false, true, true, true]);
    assert_eq!(kept(Sampling { top_p: Some(0.6), ..Sampling::default() }), [false, false, true, true]);
    assert_eq!(kept(Sampling { top_p: Some(0.4), ..Sampling::default() }), [false, false, false, true]);
}

#[test]
fn seed_and_position_decide_the_draw() {
    let logits = vec![0.0; 1000];
    let tokens = |seed| {
        let sampler = sampler(Sampling { seed: Some(seed), ..Sampling::default() });
        (0..20).map(|position| draw(&sampler, &logits, &vec![0; position], &[]).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tokens(1), tokens(1));
    assert_ne!(tokens(1), tokens(2));
}

#[test]
fn a_logit_that_is_not_a_number_draws_nothing() {
    assert_eq!(draw(&sampler(Sampling::default()), &[0.0, f32::NAN], &[], &[]), None);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let sampling = Sampling { top_p: Some(1.5), ..Sampling::default() };
    let refusal = Sampler::new(&sampling, &GenerationConfig::default(), 0).unwrap_err();
    assert_eq!((refusal.code, refusal.param), ("invalid_value", Some("top_p")));
}

#[test]
fn a_nucleus_is_found_however_many_candidates_there_are() {
    let logits: Vec<f32> = (0..5000).map(|id| -((id * 7919 % 5000) as f32) / 1000.0).collect();
    let weights = || logits.iter().enumerate().map(|(id, &logit)| Candidate { id: id as u32, logit, weight: logit.exp() });
    for share in [0.001, 0.3, 0.9, 0.9999] {
        let mut sorted: Vec<Candidate> = weights().collect();
        sorted.sort_by(best_first);
        let wanted = total(&sorted) * share;
        let mut reached = 0.0;
        let expected = sorted.iter().position(|candidate| {
            reached += f64::from(candidate.weight);
            reached >= wanted
        });
        let mut left: Vec<Candidate> = weights().collect();
        leave_nucleus(&mut left, share);
        let ids = |candidates: &[Candidate]| candidates.iter().map(|c| c.id).collect::<Vec<_>>();
        assert_eq!(ids(&left), ids(&sorted[..=expected.unwrap()]), "{share}");
    }
}

#[test]
fn penalties_and_biases_move_the_best_token() {
    let best = |sampling: Sampling, logits: &[f32], answer: &[u32]| {
        draw(&sampler(Sampling { temperature: Some(0.0), ..sampling }), logits, answer, &[])
    };
    let logits = [1.0, 0.9, -0.5];
    let biased = || Sampling { logit_bias: vec![(2, 2.0)], ..Sampling::default() };
    assert_eq!(best(biased(), &logits, &[]), Some(2));
    let present = || Sampling { presence_penalty: Some(0.2), ..Sampling::default() };
    assert_eq!((best(present(), &logits, &[]), best(present(), &logits, &[0])), (Some(0), Some(1)));
    assert_eq!(best(present(), &logits, &[0, 0, 0, 1]), Some(0));
    let frequent = || Sampling { frequency_penalty: Some(0.2), ..Sampling::default() };
    assert_eq!(best(frequent(), &logits, &[0, 0, 0, 1]), Some(1));
    let repeated = || Sampling { repetition_penalty: Some(2.0), ..Sampling::default() };
    assert_eq!(best(repeated(), &logits, &[0, 0]), Some(1));
    assert_eq!(best(repeated(), &[-0.4, -0.5, -1.0], &[0]), Some(1));
}

#[test]
fn only_the_repetition_penalty_looks_at_the_prompt() {
    let draw = |sampling: Sampling| {
        let greedy = sampler(Sampling { temperature: Some(0.0), ..sampling });
        let mut scratch = Scratch::default();
        let drawn = greedy.draw(&[1.0, 0.9], Place { tokens: &[0], prompt_tokens: 1 }, &Permit::all_but(&[]), &mut scratch);
        assert!(scratch.counts.iter().all(|count| *count == 0));
        drawn
    };
    assert_eq!(draw(Sampling { presence_penalty: Some(1.0), ..Sampling::default() }), Some(0));
    assert_eq!(draw(Sampling { repetition_penalty: Some(1.5), ..Sampling::default() }), Some(1));
}
