//! The bytes of a file: streamed from the object store, whole or one range of them.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE},
    },
    response::{IntoResponse, Response},
};
use domain::error::ApiError;

use super::{find, no_such_file};
use crate::{
    Failure, Producer,
    http::{auth::Caller, error::refusal},
};

/// Downloads a file. Whatever `Accept` says, it is JSON lines.
#[utoipa::path(
    get, path = "/v1/files/{id}/content", tag = "files",
    params(("id" = String, Path), ("Range" = Option<String>, Header, description = "`bytes=FIRST-LAST`")),
    responses((status = 200, description = "The bytes"), (status = 206, description = "The range"), (status = 416, description = "No such range"))
)]
pub(crate) async fn content(
    State(producer): State<Arc<Producer>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let file = find(&producer, caller, &id).await?;
    let wanted = Range::wanted(headers.get(RANGE).and_then(|range| range.to_str().ok()), file.bytes);
    let (status, first, length) = match wanted {
        Range::Whole => (StatusCode::OK, 0, file.bytes),
        Range::Part { first, length } => (StatusCode::PARTIAL_CONTENT, first, length),
        Range::None => return Ok(no_such_range(file.bytes)),
    };
    let body = if length == 0 {
        Body::empty()
    } else {
        match producer.backing.objects.read(&file.key, first, Some(length)).await {
            Ok(bytes) => Body::from_stream(bytes),
            // Deleted or expired a moment ago.
            Err(backing::Error::NoObject(_)) => return Err(no_such_file().into()),
            Err(error) => return Err(error.into()),
        }
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CONTENT_DISPOSITION, attachment(&file.filename));
    if status == StatusCode::PARTIAL_CONTENT {
        insert_text(headers, format!("bytes {first}-{}/{}", first + length - 1, file.bytes));
    }
    Ok(response)
}

fn no_such_range(bytes: u64) -> Response {
    let message = format!("the file has {bytes} bytes");
    let mut response = refusal(&ApiError::new(416, "invalid_request_error", "invalid_range", message).param("Range"));
    insert_text(response.headers_mut(), format!("bytes */{bytes}"));
    response
}

fn insert_text(headers: &mut HeaderMap, content_range: String) {
    if let Ok(value) = HeaderValue::try_from(content_range) {
        headers.insert(CONTENT_RANGE, value);
    }
}

/// What part of a file a client wants.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part {
        first: u64,
        length: u64,
    },
    /// A part that the file does not have.
    None,
}

impl Range {
    /// Reads a `Range` header. What it does not understand, several ranges among it, is the whole file, as RFC 9110 allows.
    fn wanted(header: Option<&str>, bytes: u64) -> Self {
        let Some((first, last)) = header.and_then(|text| text.trim().strip_prefix("bytes=")?.split_once('-')) else { return Self::Whole };
        let (first, last) = match (first.trim(), last.trim()) {
            ("", suffix) => match suffix.parse::<u64>() {
                Ok(0) => return Self::None,
                Ok(suffix) => (bytes.saturating_sub(suffix), bytes.saturating_sub(1)),
                Err(_) => return Self::Whole,
            },
            (first, "") => match first.parse() {
                Ok(first) => (first, bytes.saturating_sub(1)),
                Err(_) => return Self::Whole,
            },
            (first, last) => match (first.parse::<u64>(), last.parse::<u64>()) {
                (Ok(first), Ok(last)) if first <= last => (first, last.min(bytes.saturating_sub(1))),
                _ => return Self::Whole,
            },
        };
        if first < bytes { Self::Part { first, length: last - first + 1 } } else { Self::None }
    }
}

/// A download under the name of the upload, in ASCII and, where that loses something, in full (RFC 6266).
fn attachment(filename: &str) -> HeaderValue {
    let plain: String = filename
        .chars()
        .map(|letter| if letter.is_ascii_graphic() && !"\"\\%/".contains(letter) || letter == ' ' { letter } else { '_' })
        .collect();
    let mut text = format!("attachment; filename=\"{plain}\"");
    if plain != filename {
        text.push_str("; filename*=UTF-8''");
        for byte in filename.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(byte as char),
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file() {
        let part = |first, length| Range::Part { first, length };
        for (header, expected) in [
            (None, Range::Whole),
            (Some("bytes=0-0"), part(0, 1)),
            (Some("bytes=2-"), part(2, 8)),
            (Some("bytes=2-100"), part(2, 8)),
            (Some("bytes=-3"), part(7, 3)),
            (Some("bytes=-100"), part(0, 10)),
            (Some("bytes=10-"), Range::None),
            (Some("bytes=-0"), Range::None),
            (Some("bytes=5-2"), Range::Whole),
            (Some("bytes=0-1,3-4"), Range::Whole),
            (Some("lines=1-2"), Range::Whole),
            (Some("bytes=a-b"), Range::Whole),
        ] {
            assert_eq!(Range::wanted(header, 10), expected, "{header:?}");
        }
        assert_eq!(Range::wanted(Some("bytes=0-"), 0), Range::None);
    }

    #[test]
    fn file_names_cannot_break_out_of_the_header() {
        assert_eq!(attachment("in put.jsonl"), "attachment; filename=\"in put.jsonl\"");
        assert_eq!(attachment("a\"\r\nb"), "attachment; filename=\"a___b\"; filename*=UTF-8''a%22%0D%0Ab");
        assert_eq!(attachment("é"), "attachment; filename=\"_\"; filename*=UTF-8''%C3%A9");
    }
}
