//! One way of millrace-nano through some requests, for proofs that compare two ways.

use std::time::Instant;

use engine::{Completion, DraftCounts, Engine, ModelSource, Options, Request};
use tests::servers::repository;

/// What came of it; the answers are in the order of the requests.
pub(crate) struct Run {
    pub(crate) seconds: f64,
    pub(crate) answers: Vec<Completion>,
    pub(crate) drafts: DraftCounts,
}

impl Run {
    pub(crate) fn new(options: &Options, requests: &[Request]) -> Run {
        let nano = ModelSource::Directory(repository("models/millrace-nano"));
        let mut engine = Engine::load(&nano, options).expect("millrace-nano loads");
        for (id, request) in requests.iter().enumerate() {
            engine.add(id as u64, request.clone()).expect("the request is taken");
        }
        let began = Instant::now();
        let mut finished = Vec::new();
        while !engine.is_idle() {
            finished.extend(engine.step());
        }
        let seconds = began.elapsed().as_secs_f64();
        finished.sort_by_key(|finished| finished.id);
        let answers = finished.into_iter().map(|finished| finished.outcome.expect("an answer")).collect();
        Run { seconds, answers, drafts: engine.drafts() }
    }

    /// The tokens of each answer.
    pub(crate) fn drawn(&self) -> Vec<&[u32]> {
        self.answers.iter().map(|answer| answer.token_ids.as_slice()).collect()
    }
}
