//! What is right and wrong with an input file: every line by itself, `custom_id`s across lines, and the limits on the whole. No I/O.

use std::collections::{HashMap, hash_map::Entry};

use backing::store::NewLine;
use domain::{
    batch::BatchError,
    jsonl::{BatchLine, Line, LineSplitter, fault},
    limits::{BATCH_ERRORS_MAX, Limits},
    model::Model,
    request::Endpoint,
};
use sha2::{Digest, Sha256};

/// What becomes of a batch after its input file was read.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// All lines are stored; `model` is the one that all of them name.
    Good { lines: u64, model: Option<String> },
    /// At least one entry; nothing runs.
    Rejected(Vec<BatchError>),
}

/// Reads a file chunk by chunk. Holds one line, a digest for each `custom_id`, and the first hundred errors.
pub(super) struct Check {
    splitter: LineSplitter,
    rules: Rules,
}

impl Check {
    pub(super) fn new(endpoint: Endpoint, limits: Limits, models: HashMap<String, Model>) -> Self {
        let rules = Rules { endpoint, limits, models, custom_ids: HashMap::new(), lines: 0, model: None, faults: Faults::default() };
        Self { splitter: LineSplitter::new(limits.line_bytes_max), rules }
    }

    /// Checks the lines that these bytes complete and adds the good ones, as long as there was no error.
    pub(super) fn feed(&mut self, bytes: &[u8], good: &mut Vec<NewLine>) {
        self.splitter.feed(bytes, |line| self.rules.apply(line, good));
    }

    /// True if the rest of the file cannot change the verdict.
    pub(super) fn has_seen_enough(&self) -> bool {
        self.rules.lines > self.rules.limits.lines_max
    }

    /// Checks the last line and judges the file.
    pub(super) fn finish(mut self, good: &mut Vec<NewLine>) -> Verdict {
        self.splitter.finish(|line| self.rules.apply(line, good));
        self.rules.judge()
    }
}

struct Rules {
    endpoint: Endpoint,
    limits: Limits,
    models: HashMap<String, Model>,
    /// Digest of each `custom_id` and the line that used it first.
    custom_ids: HashMap<[u8; 16], u32>,
    lines: u64,
    model: Option<Common>,
    faults: Faults,
}

/// What the lines so far have in common.
enum Common {
    One(String),
    Mixed,
}

impl Rules {
    fn apply(&mut self, line: Line<'_>, good: &mut Vec<NewLine>) {
        self.lines += 1;
        if self.lines > self.limits.lines_max {
            if self.lines == self.limits.lines_max + 1 {
                let message = format!("The input file has more than {} requests.", self.limits.lines_max);
                self.faults.add(fault("too_many_tasks", message, None), None);
            }
            return;
        }
        let (number, checked) = match line {
            Line::TooLong { number } => {
                let message = format!("This line has more than {} bytes.", self.limits.line_bytes_max);
                (number, Err(fault("line_too_long", message, None)))
            }
            Line::Text { number, offset, bytes } => (number, self.check(number, offset, bytes)),
        };
        match checked {
            Ok(line) if self.faults.is_empty() => good.push(line),
            Ok(_) => {}
            Err(error) => self.faults.add(error, Some(number)),
        }
    }

    fn check(&mut self, number: u64, offset: u64, bytes: &[u8]) -> Result<NewLine, BatchError> {
        let line = BatchLine::parse(bytes, self.endpoint)?;
        match self.custom_ids.entry(digest(&line.custom_id)) {
            Entry::Occupied(first) => {
                let message = format!("This `custom_id` was already used on line {}.", first.get());
                return Err(fault("duplicate_custom_id", message, Some("custom_id")));
            }
            Entry::Vacant(place) => place.insert(number as u32),
        };
        let name = line.request.model;
        let Some(model) = self.models.get(&name) else {
            // The name is the client's: a bounded part of it is enough to recognise it.
            let shown: String = name.chars().take(64).collect();
            return Err(fault("model_not_found", format!("There is no model `{shown}`."), Some("body.model")));
        };
        match &self.model {
            None => self.model = Some(Common::One(name.clone())),
            Some(Common::One(common)) if *common != name => self.model = Some(Common::Mixed),
            Some(_) => {}
        }
        Ok(NewLine {
            line: number,
            custom_id: line.custom_id,
            cost: model.estimate(line.body_bytes, &line.request.generation),
            model: name,
            body_offset: offset + line.body_start as u64,
            body_bytes: line.body_bytes as u32,
        })
    }

    fn judge(mut self) -> Verdict {
        if self.lines == 0 {
            self.faults.add(fault("empty_file", "The input file has no requests.", None), None);
        }
        if !self.faults.is_empty() {
            return Verdict::Rejected(self.faults.into_entries());
        }
        let model = match self.model {
            Some(Common::One(name)) => Some(name),
            Some(Common::Mixed) | None => None,
        };
        Verdict::Good { lines: self.lines, model }
    }
}

/// Half of a SHA-256: nobody can make two ids that look like one.
fn digest(custom_id: &str) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(custom_id)[..16]);
    half
}

/// The first errors in full, the others counted.
#[derive(Default)]
struct Faults {
    entries: Vec<BatchError>,
    left_out: u64,
}

impl Faults {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn add(&mut self, error: BatchError, line: Option<u64>) {
        if self.entries.len() < BATCH_ERRORS_MAX {
            self.entries.push(BatchError { line, ..error });
        } else {
            self.left_out += 1;
        }
    }

    fn into_entries(mut self) -> Vec<BatchError> {
        if self.left_out > 0 {
            self.entries.push(fault("too_many_errors", format!("{} more errors are not listed.", self.left_out), None));
        }
        self.entries
    }
}

#[cfg(test)]
mod tests;
