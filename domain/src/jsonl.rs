//! Batch input files: cutting a byte stream into lines with bounded memory, and reading one line.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    batch::BatchError,
    error::ApiError,
    limits::CUSTOM_ID_BYTES_MAX,
    request::{Endpoint, Request},
};

/// One physical line of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line with content; `offset` is that of its first byte in the file.
    Text { number: u64, offset: u64, bytes: &'a [u8] },
    /// A line over the limit; its bytes were dropped while they came.
    TooLong { number: u64 },
}

/// Cuts chunks into lines. Holds at most one line; drops a leading byte order mark, line ends and blank lines.
pub struct LineSplitter {
    line_bytes_max: usize,
    pending: Vec<u8>,
    overflow: bool,
    number: u64,
    offset: u64,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl LineSplitter {
    /// A splitter for one file.
    pub fn new(line_bytes_max: usize) -> Self {
        Self { line_bytes_max, pending: Vec::new(), overflow: false, number: 0, offset: 0 }
    }

    /// Takes the next bytes of the file and hands out the lines that they complete.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Line<'_>)) {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.extend(&rest[..end]);
            self.finish_line(&mut each);
            self.offset += 1;
            rest = &rest[end + 1..];
        }
        self.extend(rest);
    }

    /// Hands out the last line, which may lack its line end.
    pub fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.pending.is_empty() || self.overflow {
            self.finish_line(&mut each);
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        if self.overflow {
            return;
        }
        // Room for a carriage return and a byte order mark, neither of which counts.
        if self.pending.len() + bytes.len() > self.line_bytes_max + 1 + BYTE_ORDER_MARK.len() {
            self.overflow = true;
            self.pending = Vec::new();
        } else {
            self.pending.extend_from_slice(bytes);
        }
    }

    fn finish_line(&mut self, each: &mut impl FnMut(Line<'_>)) {
        self.number += 1;
        let number = self.number;
        let start = self.offset - self.pending.len() as u64;
        let mark = if number == 1 && self.pending.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let bytes = &self.pending[mark..];
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if self.overflow || bytes.len() > self.line_bytes_max {
            each(Line::TooLong { number });
        } else if !bytes.iter().all(u8::is_ascii_whitespace) {
            each(Line::Text { number, offset: start + mark as u64, bytes });
        }
        self.pending.clear();
        self.overflow = false;
    }
}

/// A good line of a batch file.
#[derive(Debug, PartialEq)]
pub struct BatchLine {
    pub custom_id: String,
    pub request: Request,
    /// Where the body stands within the line, in bytes.
    pub body_start: usize,
    pub body_bytes: usize,
}

#[derive(Deserialize)]
struct RawLine<'a> {
    custom_id: Option<Value>,
    method: Option<Value>,
    url: Option<Value>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl BatchLine {
    /// Reads one line for a batch on `endpoint`. The error lacks the line number, which the caller knows.
    pub fn parse(line: &[u8], endpoint: Endpoint) -> Result<Self, BatchError> {
        let raw: RawLine<'_> = serde_json::from_slice(line).map_err(|error| {
            fault("invalid_json_line", format!("This line is not a JSON object of a batch (column {}).", error.column()), None)
        })?;
        let custom_id = custom_id(raw.custom_id)?;
        if raw.method.as_ref().and_then(Value::as_str) != Some("POST") {
            return Err(fault("invalid_request", "`method` must be `POST`.", Some("method")));
        }
        match raw.url.as_ref().and_then(Value::as_str) {
            Some(url) if url == endpoint.path() => {}
            Some(_) => {
                return Err(fault("url_mismatch", format!("`url` must be the batch's endpoint, `{}`.", endpoint.path()), Some("url")));
            }
            None => return Err(fault("invalid_request", "`url` must be a string.", Some("url"))),
        }
        let body = raw.body.ok_or_else(|| fault("invalid_request", "`body` is required.", Some("body")))?.get();
        let request = Request::parse(endpoint, body.as_bytes()).map_err(body_fault)?;
        let body_start = body.as_ptr() as usize - line.as_ptr() as usize;
        Ok(Self { custom_id, request, body_start, body_bytes: body.len() })
    }
}

/// An error without its line number.
pub fn fault(code: &str, message: impl Into<String>, param: Option<&str>) -> BatchError {
    BatchError { code: code.to_owned(), message: message.into(), param: param.map(str::to_owned), line: None }
}

fn body_fault(error: ApiError) -> BatchError {
    let param = error.param.map_or_else(|| "body".to_owned(), |param| format!("body.{param}"));
    fault("invalid_request", error.message, Some(&param))
}

fn custom_id(value: Option<Value>) -> Result<String, BatchError> {
    let param = Some("custom_id");
    match value {
        // Postgres keeps no NUL in a text.
        Some(Value::String(id)) if (1..=CUSTOM_ID_BYTES_MAX).contains(&id.len()) && !id.contains('\0') => Ok(id),
        Some(Value::String(_)) => {
            Err(fault("invalid_custom_id", format!("`custom_id` must have from 1 to {CUSTOM_ID_BYTES_MAX} bytes and no NUL."), param))
        }
        _ => Err(fault("invalid_request", "`custom_id` must be a string.", param)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(file: &[u8], chunk: usize, max: usize) -> Vec<(u64, Option<(u64, Vec<u8>)>)> {
        let mut lines = Vec::new();
        let mut keep = |line: Line<'_>| {
            lines.push(match line {
                Line::Text { number, offset, bytes } => (number, Some((offset, bytes.to_vec()))),
                Line::TooLong { number } => (number, None),
            })
        };
        let mut splitter = LineSplitter::new(max);
        file.chunks(chunk).for_each(|chunk| splitter.feed(chunk, &mut keep));
        splitter.finish(&mut keep);
        lines
    }

    #[test]
    fn lines_are_the_same_however_the_file_is_cut() {
        let file = b"\xef\xbb\xbf{\"a\":1}\r\n\n  \nsecond\nthis one is far too long\nlast";
        let whole = split(file, file.len(), 10);
        assert_eq!(
            whole,
            [(1, Some((3, b"{\"a\":1}".to_vec()))), (4, Some((16, b"second".to_vec()))), (5, None), (6, Some((48, b"last".to_vec())))]
        );
        for chunk in 1..file.len() {
            assert_eq!(split(file, chunk, 10), whole, "chunks of {chunk}");
        }
    }

    #[test]
    fn offsets_lead_back_to_the_bytes_in_the_file() {
        let file = b"one\r\n\r\ntwo\nthree";
        for (_, line) in split(file, 2, 100) {
            let (offset, bytes) = line.unwrap();
            assert_eq!(&file[offset as usize..offset as usize + bytes.len()], bytes);
        }
    }

    #[test]
    fn a_good_line_tells_where_its_body_stands() {
        let line = br#"{"custom_id":"r1","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"hi"}]}}"#;
        let parsed = BatchLine::parse(line, Endpoint::ChatCompletions).unwrap();
        let body = &line[parsed.body_start..parsed.body_start + parsed.body_bytes];
        assert_eq!(Request::parse(Endpoint::ChatCompletions, body), Ok(parsed.request));
    }

    #[test]
    fn each_fault_has_its_code() {
        let body = r#""body":{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
        for (line, code) in [
            ("not json".to_owned(), "invalid_json_line"),
            ("[]".to_owned(), "invalid_json_line"),
            ("{\"custom_id\":\"\u{e9}".to_owned(), "invalid_json_line"),
            (format!(r#"{{"custom_id":7,"method":"POST","url":"/v1/chat/completions",{body}}}"#), "invalid_request"),
            (format!(r#"{{"custom_id":"","method":"POST","url":"/v1/chat/completions",{body}}}"#), "invalid_custom_id"),
            (format!(r#"{{"custom_id":"a\u0000","method":"POST","url":"/v1/chat/completions",{body}}}"#), "invalid_custom_id"),
            (format!(r#"{{"custom_id":"a","method":"GET","url":"/v1/chat/completions",{body}}}"#), "invalid_request"),
            (format!(r#"{{"custom_id":"a","method":"POST","url":"/v1/completions",{body}}}"#), "url_mismatch"),
            (r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}"#.to_owned(), "invalid_request"),
            (r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions"}"#.to_owned(), "invalid_request"),
        ] {
            assert_eq!(BatchLine::parse(line.as_bytes(), Endpoint::ChatCompletions).unwrap_err().code, code, "{line}");
        }
        assert_eq!(BatchLine::parse(b"\"\xff\"", Endpoint::ChatCompletions).unwrap_err().code, "invalid_json_line");
        let deep = "[".repeat(200_000);
        assert_eq!(BatchLine::parse(deep.as_bytes(), Endpoint::ChatCompletions).unwrap_err().code, "invalid_json_line");
    }
}
