//! An answer as it grows: tokens in; whole characters, a reasoning section and the first stop string out.

use crate::tokenizer::Tokenizer;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// The markers around reasoning, where the vocabulary has them as single tokens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ThinkTokens {
    open: Option<u32>,
    close: Option<u32>,
}

impl ThinkTokens {
    pub(crate) fn of(tokenizer: &Tokenizer) -> ThinkTokens {
        ThinkTokens { open: tokenizer.id(OPEN), close: tokenizer.id(CLOSE) }
    }
}

/// Where the next token belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    /// A chat answer may still open with reasoning.
    Start,
    Reasoning,
    Text,
}

/// Text so far. It never holds half a character.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    section: Section,
    /// A formatted answer may open with reasoning of the model's own accord.
    may_think: bool,
    think: ThinkTokens,
    stops: Vec<String>,
    /// The first bytes of a character whose rest is yet to come.
    unfinished: Vec<u8>,
    reasoning: String,
    text: String,
    reasoning_tokens: u32,
    reasoning_tokens_max: Option<u32>,
}

impl Answer {
    /// A text without sections.
    pub(crate) fn plain(stops: Vec<String>) -> Answer {
        Answer {
            section: Section::Text,
            may_think: true,
            think: ThinkTokens::default(),
            stops,
            unfinished: Vec::new(),
            reasoning: String::new(),
            text: String::new(),
            reasoning_tokens: 0,
            reasoning_tokens_max: None,
        }
    }

    /// An answer to a chat; it starts inside reasoning if the rendered prompt opens it.
    pub(crate) fn chat(stops: Vec<String>, think: ThinkTokens, prompt: &str) -> Answer {
        let prompt = prompt.trim_end();
        let section = match () {
            () if prompt.ends_with(OPEN) => Section::Reasoning,
            () if prompt.ends_with(CLOSE) => Section::Text,
            () => Section::Start,
        };
        Answer { section, think, ..Answer::plain(stops) }
    }

    /// The next token belongs to reasoning.
    pub(crate) fn is_reasoning(&self) -> bool {
        self.section == Section::Reasoning
    }

    /// Closes the reasoning after so many tokens; false if no token does that.
    pub(crate) fn limit_reasoning(&mut self, tokens_max: u32) -> bool {
        self.reasoning_tokens_max = Some(tokens_max);
        self.think.close.is_some()
    }

    /// The closing token, if the reasoning has used up its tokens.
    pub(crate) fn must_close(&self) -> Option<u32> {
        let used_up = self.is_reasoning() && self.reasoning_tokens_max.is_some_and(|max| self.reasoning_tokens >= max);
        self.think.close.filter(|_| used_up)
    }

    /// The caller asked for no reasoning.
    pub(crate) fn forbid_thinking(&mut self) {
        self.may_think = false;
    }

    /// The token with which the model may begin to reason before a formatted answer.
    pub(crate) fn may_open(&self) -> Option<u32> {
        self.think.open.filter(|_| self.may_think && self.section == Section::Start)
    }

    /// Takes the next token; true if a stop string has been completed.
    pub(crate) fn push(&mut self, id: u32, tokenizer: &Tokenizer) -> bool {
        match self.section {
            Section::Start if self.think.open == Some(id) => {
                self.reasoning_tokens += 1;
                self.section = Section::Reasoning;
                false
            }
            Section::Start => {
                self.section = Section::Text;
                self.push_text(id, tokenizer)
            }
            Section::Reasoning => {
                self.reasoning_tokens += 1;
                self.push_reasoning(id, tokenizer);
                false
            }
            Section::Text => self.push_text(id, tokenizer),
        }
    }

    /// The answer's text, its reasoning, and how many tokens that took.
    pub(crate) fn finish(mut self, stopped: bool) -> (String, Option<String>, u32) {
        if !stopped {
            let rest = String::from_utf8_lossy(&self.unfinished).into_owned();
            match self.section {
                Section::Reasoning => self.reasoning.push_str(&rest),
                Section::Start | Section::Text => self.text.push_str(&rest),
            }
        }
        if self.reasoning_tokens == 0 {
            return (self.text, None, 0);
        }
        // The line breaks around the markers belong to the markers.
        let text = self.text.trim_start().to_owned();
        (text, Some(self.reasoning.trim().to_owned()), self.reasoning_tokens)
    }

    fn push_reasoning(&mut self, id: u32, tokenizer: &Tokenizer) {
        if self.think.close == Some(id) {
            let rest = std::mem::take(&mut self.unfinished);
            self.reasoning.push_str(&String::from_utf8_lossy(&rest));
            self.section = Section::Text;
            return;
        }
        let characters = self.characters(id, tokenizer);
        let searched = floor_boundary(&self.reasoning, CLOSE.len() - 1);
        self.reasoning.push_str(&characters);
        // A vocabulary without the marker spells it in several tokens.
        if let Some(place) = self.reasoning[searched..].find(CLOSE) {
            self.text = self.reasoning.split_off(searched + place).split_off(CLOSE.len());
            self.section = Section::Text;
        }
    }

    fn push_text(&mut self, id: u32, tokenizer: &Tokenizer) -> bool {
        let characters = self.characters(id, tokenizer);
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let searched = floor_boundary(&self.text, longest.saturating_sub(1));
        self.text.push_str(&characters);
        let new = &self.text[searched..];
        let Some(place) = self.stops.iter().filter_map(|stop| new.find(stop.as_str())).min() else {
            return false;
        };
        self.text.truncate(searched + place);
        true
    }

    /// The characters that this token completes.
    fn characters(&mut self, id: u32, tokenizer: &Tokenizer) -> String {
        if tokenizer.is_special(id) {
            return String::new();
        }
        let mut bytes = std::mem::take(&mut self.unfinished);
        bytes.extend_from_slice(tokenizer.bytes(id));
        self.unfinished = bytes.split_off(bytes.len() - unfinished_length(&bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// How many bytes at the end may still become a character.
fn unfinished_length(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last();
    match last.map(|chunk| chunk.invalid()) {
        Some(rest) if std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none()) => rest.len(),
        _ => 0,
    }
}

/// The place at least `bytes` before the end at which a character begins.
fn floor_boundary(text: &str, bytes: usize) -> usize {
    text.floor_char_boundary(text.len().saturating_sub(bytes))
}

#[cfg(test)]
mod tests;
