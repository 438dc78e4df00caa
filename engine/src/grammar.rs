//! Structured output: which tokens a schema, an expression or a choice allows next. Masks are computed on a thread of their own
//! while the model computes the logits that they are for. Drawing under a mask is `sample.rs`.

mod schema;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::request::{Format, Refusal};
use crate::tokenizer::Tokenizer;

/// Compiled grammars kept for the next request; those of a batch usually share one.
const KEPT: usize = 32;

/// Masks that may wait for the thread before the engine waits for it.
const WAITING_MAX: usize = 1024;

/// What may follow a backslash. With `u`, a name that a schema speaks of could be written as if it were another.
const JSON_ESCAPES: &str = "nrbtf\\\"";

/// Compiles grammars for one vocabulary.
pub(crate) struct Grammars {
    factory: ParserFactory,
    /// The latest last.
    compiled: VecDeque<(Format, Matcher)>,
    masks: SyncSender<Work>,
}

/// A mask to compute: the state it is for, and who waits.
struct Work {
    matcher: Box<Matcher>,
    reply: SyncSender<Ready>,
}

/// A state with the tokens that it allows, or the reason why it has none.
struct Ready {
    matcher: Box<Matcher>,
    /// Comes back for the next mask: if the thread kept it and died, whoever waits must hear of it.
    reply: SyncSender<Ready>,
    allowed: Result<SimpleVob, String>,
}

/// Where one answer stands in its grammar.
pub(crate) struct Grammar {
    masks: SyncSender<Work>,
    ready: Receiver<Ready>,
    now: Option<Ready>,
}

impl Grammars {
    /// `eos` are the tokens that end an answer; the grammar decides where they may.
    pub(crate) fn new(tokenizer: &Tokenizer, eos: &[u32]) -> Result<Grammars, Refusal> {
        let failed = |error: String| refused(format!("this model cannot follow a grammar: {error}"));
        let vocabulary = vocabulary(tokenizer, eos).ok_or_else(|| failed("it has no end-of-sequence token".to_owned()))?;
        let mut factory = ParserFactory::new_simple(&vocabulary).map_err(|error| failed(error.to_string()))?;
        factory.quiet().limits_mut().verbose_errors = false;
        let (masks, work) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new().name("grammar".to_owned());
        thread.spawn(move || compute_masks(&work)).map_err(|error| failed(error.to_string()))?;
        Ok(Grammars { factory, compiled: VecDeque::new(), masks })
    }

    /// The beginning of an answer in this format, or what about the format is not supported.
    pub(crate) fn begin(&mut self, format: Format) -> Result<Grammar, Refusal> {
        let known = self.compiled.iter().position(|(known, _)| *known == format);
        let (format, matcher) = match known.and_then(|index| self.compiled.remove(index)) {
            Some(known) => known,
            None => {
                let parser = self.factory.create_parser(source(&format)?);
                let matcher =
                    parser.map_err(|error| refused(format!("`{}` is not supported: {}", name(&format), reason(&error.to_string()))))?;
                (format, Matcher::new(Ok(matcher)))
            }
        };
        let grammar = Grammar::at(matcher.clone(), self.masks.clone());
        self.compiled.push_back((format, matcher));
        if self.compiled.len() > KEPT {
            self.compiled.pop_front();
        }
        grammar.ok_or_else(|| refused("the grammar thread has ended".to_owned()))
    }
}

impl Grammar {
    fn at(matcher: Matcher, masks: SyncSender<Work>) -> Option<Grammar> {
        let (reply, ready) = sync_channel(1);
        let grammar = Grammar { masks, ready, now: None };
        grammar.compute(Work { matcher: Box::new(matcher), reply }).then_some(grammar)
    }

    /// The tokens that may come next. Waits for the other thread if it has not got that far.
    pub(crate) fn allowed(&mut self) -> Result<&SimpleVob, String> {
        if self.now.is_none() {
            self.now = self.ready.recv().ok();
        }
        let now = self.now.as_ref().ok_or("the grammar thread has ended")?;
        now.allowed.as_ref().map_err(Clone::clone)
    }

    /// Moves on by a token that was allowed; true if the answer is complete with it.
    pub(crate) fn take(&mut self, token: u32) -> Result<bool, String> {
        let Ready { mut matcher, reply, .. } = self.now.take().ok_or("a token was drawn without a mask")?;
        matcher.consume_token(token).map_err(|error| error.to_string())?;
        if matcher.is_stopped() {
            return Ok(true);
        }
        if self.compute(Work { matcher, reply }) { Ok(false) } else { Err("the grammar thread has ended".to_owned()) }
    }

    fn compute(&self, work: Work) -> bool {
        self.masks.send(work).is_ok()
    }
}

/// The life of the thread: it ends when the last who could send it work is gone.
fn compute_masks(work: &Receiver<Work>) {
    for Work { mut matcher, reply } in work {
        let allowed = matcher.compute_mask().map_err(|error| error.to_string());
        // An error is a request that was cancelled in the meantime.
        let _ = reply.clone().send(Ready { matcher, reply, allowed });
    }
}

/// The tokens as the grammar library wants them: special ones are marked, so that no text is ever taken for one.
fn vocabulary(tokenizer: &Tokenizer, eos: &[u32]) -> Option<TokEnv> {
    let ids = 0..tokenizer.len() as u32;
    let words: Vec<Vec<u8>> = ids
        .map(|id| match tokenizer.is_special(id) {
            true => [&[TokTrie::SPECIAL_TOKEN_MARKER], tokenizer.bytes(id)].concat(),
            false => tokenizer.bytes(id).to_vec(),
        })
        .collect();
    let eos: Vec<u32> = eos.iter().copied().filter(|id| (*id as usize) < words.len()).collect();
    let info = TokRxInfo::new(words.len() as u32, *eos.first()?);
    Some(Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words).with_eos_tokens(&eos))))
}

fn source(format: &Format) -> Result<TopLevelGrammar, Refusal> {
    Ok(match format {
        Format::JsonObject => json_grammar(json!({ "type": "object" })),
        Format::JsonSchema(schema) => {
            let unsupported = |cause| refused(format!("`json_schema` is not supported: {cause}"));
            json_grammar(schema::rewrite(schema).map_err(unsupported)?)
        }
        Format::Regex(expression) => TopLevelGrammar::from_regex(expression),
        Format::Grammar(lark) => TopLevelGrammar::from_lark(lark.clone()),
        Format::Choice(choices) if choices.is_empty() => return Err(refused("the list of choices is empty".to_owned())),
        Format::Choice(choices) => {
            let quoted: Vec<String> = choices.iter().map(|choice| Value::from(choice.as_str()).to_string()).collect();
            TopLevelGrammar::from_lark(format!("start: {}", quoted.join(" | ")))
        }
    })
}

/// The rewritten schema with our options in the place where the library looks for them.
fn json_grammar(mut schema: Value) -> TopLevelGrammar {
    if schema.is_object() {
        json_options().apply_to(&mut schema);
    }
    TopLevelGrammar::from_json_schema(schema)
}

/// JSON without spaces around its commas and colons: where a model may write them it may do so for ever, each of them is a token
/// paid for, and every place for one makes masks dearer.
pub(crate) fn json_options() -> JsonCompileOptions {
    JsonCompileOptions { whitespace_flexible: false, json_allowed_escapes: Some(JSON_ESCAPES.to_owned()), ..JsonCompileOptions::default() }
}

fn name(format: &Format) -> &'static str {
    match format {
        Format::JsonObject => "json_object",
        Format::JsonSchema(_) => "json_schema",
        Format::Regex(_) => "regex",
        Format::Choice(_) => "choice",
        Format::Grammar(_) => "grammar",
    }
}

/// What the library says about a grammar, on one line and without advice that a caller cannot follow.
fn reason(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    line.split(". Enable").next().unwrap_or(line).replace("Unimplemented keys", "keywords not implemented")
}

fn refused(message: String) -> Refusal {
    Refusal::invalid("response_format", message)
}

#[cfg(test)]
mod tests;
