//! A request while it lives in the engine: its tokens, how far they are computed, and the answer so far.

use std::ops::Range;

use crate::answer::Answer;
use crate::grammar::Grammar;
use crate::kv::{Known, Pages};
use crate::request::{Completion, Failure, FinishReason, Finished, Usage};
use crate::sample::{Logprobs, Permit, Place, Sampler, Scratch, highest};
use crate::tokenizer::Tokenizer;
use crate::tools;

/// One running or waiting request. Always `computed < tokens.len()`: there is something to compute.
pub(crate) struct Sequence {
    pub(crate) id: u64,
    /// Prompt and answer.
    pub(crate) tokens: Vec<u32>,
    pub(crate) prompt_tokens: usize,
    /// Tokens whose cache entries are written.
    pub(crate) computed: usize,
    pub(crate) pages: Vec<u32>,
    /// A guess of the token after these.
    pub(crate) draft: Option<u32>,
    /// The latest tokens in a row that the draft layer, too, has cache entries for.
    pub(crate) drafted: Range<usize>,
    /// How far it was remembered when it last waited.
    pub(crate) known: Known,
    /// Tokens of the prompt that were found in the cache when it first ran; none before that.
    pub(crate) cached: Option<usize>,
    /// Later requests that were let in before it.
    pub(crate) overtaken: u32,
    pub(crate) limits: Limits,
    pub(crate) sampler: Sampler,
    pub(crate) answer: Answer,
    /// What the text of the answer must follow.
    pub(crate) grammar: Option<Grammar>,
    /// The request came with tools: calls are read out of the text.
    pub(crate) has_tools: bool,
    pub(crate) logprobs: Option<Logprobs>,
    /// Those of the prompt, from its second token on.
    pub(crate) prompt_logprobs: Option<Logprobs>,
}

/// When the answer ends.
pub(crate) struct Limits {
    /// Prompt and answer together.
    pub(crate) tokens_max: usize,
    /// Tokens the answer has at least.
    pub(crate) tokens_min: usize,
    /// Tokens that end it.
    pub(crate) stop_ids: Vec<u32>,
}

/// Why an answer ends that the model cannot go on with.
const NOT_A_NUMBER: &str = "the model computed a value that is not a number";

/// What became of a sequence with its latest token.
enum End {
    Stop,
    StopString,
    Length,
}

impl Sequence {
    /// Tokens yet to be computed before the next one can be drawn.
    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// The positions in the prompt whose logits are still wanted: each tells how probable the token after it was.
    pub(crate) fn unscored(&self) -> Range<usize> {
        let scored_end = self.prompt_tokens - 1;
        self.prompt_logprobs.as_ref().map_or(scored_end, Logprobs::len)..scored_end
    }

    /// The tokens whose remembered pages are of use. Logits are not remembered: from the first that is wanted on, all is computed.
    pub(crate) fn findable(&self) -> &[u32] {
        let unscored = self.unscored();
        if unscored.is_empty() { &self.tokens } else { &self.tokens[..=unscored.start] }
    }

    /// Tokens that the answer may have at most.
    pub(crate) fn answer_max(&self) -> usize {
        self.limits.tokens_max - self.prompt_tokens
    }

    /// Whether two tokens more would fit, so that a guess of the first one helps.
    pub(crate) fn has_use_for_draft(&self) -> bool {
        self.tokens.len() + 2 <= self.limits.tokens_max
    }

    /// Begins, or begins again, after what is remembered of its tokens.
    pub(crate) fn start(&mut self, pages: &mut Pages) {
        // Room for all that may come, so that no step allocates.
        self.tokens.reserve_exact(self.limits.tokens_max - self.tokens.len());
        let mut held = Vec::with_capacity(pages.needed(self.limits.tokens_max));
        self.computed = pages.find(&mut held, self.findable());
        self.pages = held;
        self.drafted = pages.drafted_from(&self.pages, self.computed)..self.computed;
        self.cached.get_or_insert(self.computed);
    }

    /// Books so many tokens more as computed.
    pub(crate) fn compute(&mut self, tokens: usize, pages: &mut Pages) {
        let before = self.computed;
        self.computed += tokens;
        let replaced = pages.remember(&mut self.pages, &self.tokens, before, self.computed);
        self.drafted.start = self.drafted.start.max(pages.drafted_from(&self.pages, replaced));
    }

    /// Takes the next token. A draft stays only if it was right.
    pub(crate) fn push(&mut self, token: u32) {
        self.tokens.push(token);
        self.draft.take_if(|draft| *draft != token);
    }

    /// The tokens from `before` on that the draft layer computes now. What it has not computed before them is never looked at.
    pub(crate) fn draft(&mut self, before: usize, pages: &mut Pages) -> Range<usize> {
        if self.drafted.end != before {
            self.drafted.start = self.drafted.start.max(before);
        }
        self.drafted.end = self.computed;
        pages.note_drafted(&self.pages, self.drafted.clone(), before);
        self.drafted.start.max(before)..self.computed
    }

    /// Whether the page that a waiting request lacks next is one that this one is computing.
    pub(crate) fn computes_next_page_of(&self, other: &Sequence, page_tokens: usize) -> bool {
        let page = other.known.pages;
        let places = page * page_tokens..(page + 1) * page_tokens;
        // With the page before it in common, everything before is in common.
        let together = page == 0 || self.pages.get(page - 1).copied() == other.known.last;
        self.computed < places.end
            && places.end < other.findable().len()
            && together
            && self.tokens.get(places.clone()) == other.tokens.get(places)
    }

    /// Scores the next token of the prompt, or else draws one. Some if the request has ended with it.
    pub(crate) fn advance(&mut self, logits: &[f32], tokenizer: &Tokenizer, scratch: &mut Scratch) -> Option<Finished> {
        match self.unscored().next() {
            Some(position) => self.score(position, logits),
            None => self.draw(logits, tokenizer, scratch),
        }
    }

    fn score(&mut self, position: usize, logits: &[f32]) -> Option<Finished> {
        if highest(logits).is_none() {
            return Some(self.fail(NOT_A_NUMBER));
        }
        let token = self.tokens[position + 1];
        self.prompt_logprobs.iter_mut().for_each(|logprobs| logprobs.record(logits, token));
        None
    }

    fn draw(&mut self, logits: &[f32], tokenizer: &Tokenizer, scratch: &mut Scratch) -> Option<Finished> {
        let too_early = self.tokens.len() - self.prompt_tokens < self.limits.tokens_min;
        let reasoning = self.answer.is_reasoning();
        let permit = match &mut self.grammar {
            Some(grammar) if !reasoning => match grammar.allowed() {
                Ok(mask) => Permit { mask: Some(mask), beside: self.answer.may_open(), banned: &[] },
                Err(reason) => return Some(self.fail(&reason)),
            },
            // A formatted answer cannot end before it has begun.
            Some(_) => Permit::all_but(&self.limits.stop_ids),
            None if too_early => Permit::all_but(&self.limits.stop_ids),
            None => Permit::all_but(&[]),
        };
        let place = Place { tokens: &self.tokens, prompt_tokens: self.prompt_tokens };
        let Some(token) = self.answer.must_close().or_else(|| self.sampler.draw(logits, place, &permit, scratch)) else {
            return Some(self.fail(NOT_A_NUMBER));
        };
        if let Some(logprobs) = &mut self.logprobs {
            logprobs.record(logits, token);
        }
        self.push(token);
        if let Some(end) = self.ended_by(token, tokenizer) {
            return Some(self.finish(end, tokenizer));
        }
        let written = !reasoning && !self.answer.is_reasoning();
        match self.grammar.as_mut().filter(|_| written).map(|grammar| grammar.take(token)) {
            Some(Ok(true)) => Some(self.finish(End::Stop, tokenizer)),
            Some(Err(reason)) => Some(self.fail(&reason)),
            Some(Ok(false)) | None => (self.tokens.len() >= self.limits.tokens_max).then(|| self.finish(End::Length, tokenizer)),
        }
    }

    fn ended_by(&mut self, token: u32, tokenizer: &Tokenizer) -> Option<End> {
        if self.limits.stop_ids.contains(&token) {
            return Some(End::Stop);
        }
        let stopped = self.answer.push(token, tokenizer);
        (stopped && self.tokens.len() - self.prompt_tokens >= self.limits.tokens_min).then_some(End::StopString)
    }

    fn finish(&mut self, end: End, tokenizer: &Tokenizer) -> Finished {
        let answer = std::mem::replace(&mut self.answer, Answer::plain(Vec::new()));
        let (text, reasoning, reasoning_tokens) = answer.finish(matches!(end, End::StopString));
        let (text, tool_calls) = if self.has_tools { tools::read(text) } else { (text, Vec::new()) };
        let token_ids = self.tokens.split_off(self.prompt_tokens);
        let usage = Usage {
            prompt: self.prompt_tokens as u32,
            cached: self.cached.unwrap_or(0) as u32,
            completion: token_ids.len() as u32,
            reasoning: reasoning_tokens,
        };
        let completion = Completion {
            text,
            reasoning,
            tool_calls,
            token_ids,
            prompt_token_ids: std::mem::take(&mut self.tokens),
            finish_reason: match end {
                End::Stop | End::StopString => FinishReason::Stop,
                End::Length => FinishReason::Length,
            },
            usage,
            logprobs: self.logprobs.take().map(|logprobs| logprobs.finish(tokenizer)),
            prompt_logprobs: self.prompt_logprobs.take().map(|logprobs| logprobs.finish(tokenizer)),
        };
        Finished { id: self.id, outcome: Ok(completion) }
    }

    fn fail(&self, message: &str) -> Finished {
        Finished { id: self.id, outcome: Err(Failure { code: "model_error", message: message.to_owned() }) }
    }
}
