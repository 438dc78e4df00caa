//! What the order of admission is worth. Requests that begin with one of four prefixes come in turn, and the cache holds two of
//! the prefixes at a time; the engine's own order runs against the order of arrival, pair by pair.

use std::array;

use engine::{Options, Prompt, Request, Sampling};

use crate::figures::{Figures, median};
use crate::run::Run;

const PREFIXES: usize = 4;
const PREFIX_TOKENS: usize = 2048;
const OWN_TOKENS: usize = 32;
const ANSWER_TOKENS: usize = 32;
const REQUESTS: usize = 96;
const PAIRS: usize = 3;

pub(crate) fn prove(figures: &mut Figures) {
    let planned = Options { cache_tokens: 5 * PREFIX_TOKENS / 2, look_ahead: REQUESTS, ..Options::default() };
    let arrival = Options { overtaken_max: 0, ..planned.clone() };
    let requests: Vec<Request> = (0..REQUESTS).map(request).collect();
    let pairs: [(Run, Run); PAIRS] = array::from_fn(|_| (Run::new(&arrival, &requests), Run::new(&planned, &requests)));

    let tokens = (REQUESTS * (PREFIX_TOKENS + OWN_TOKENS + ANSWER_TOKENS)) as f64;
    let possible = ((REQUESTS - PREFIXES) * PREFIX_TOKENS) as f64;
    let speed = median(pairs.each_ref().map(|(arrival, planned)| arrival.seconds / planned.seconds));
    let same = pairs.iter().filter(|(arrival, planned)| arrival.drawn() == planned.drawn()).count();
    figures.at_least("tokens per second against first-come order, median of the pairs", speed, 1.3);
    figures.at_least("share of the possible hits that are taken", hits(&pairs[0].1) / possible, 1.0);
    figures.note("the same in first-come order", hits(&pairs[0].0) / possible);
    figures.note("tokens per second, prompts and answers", median(pairs.each_ref().map(|(_, planned)| tokens / planned.seconds)));
    figures.note("the same in first-come order", median(pairs.each_ref().map(|(arrival, _)| tokens / arrival.seconds)));
    figures.at_least("share of the pairs whose answers are the same", same as f64 / PAIRS as f64, 1.0);
}

/// Its prefix, and then tokens of its own from the first on.
fn request(id: usize) -> Request {
    let prefix = (0..PREFIX_TOKENS).map(|index| 7 + (index * 31 + id % PREFIXES * 97) % 900);
    let own = (0..OWN_TOKENS).map(|index| 7 + (id * 7 + index * 13) % 900);
    Request {
        max_tokens: Some(ANSWER_TOKENS as u32),
        ignore_eos: true,
        sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
        ..Request::new(Prompt::Tokens(prefix.chain(own).map(|token| token as u32).collect()))
    }
}

fn hits(run: &Run) -> f64 {
    run.answers.iter().map(|answer| f64::from(answer.usage.cached)).sum()
}
