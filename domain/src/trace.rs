//! W3C trace context: the one header that ties a request's spans together across processes.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceParent {
    /// Starts a trace of our own.
    pub fn root() -> Self {
        Self { trace: Uuid::new_v4().as_u128(), span: fresh_span(), flags: 1 }
    }

    /// A new span of the same trace.
    pub fn child(&self) -> Self {
        Self { span: fresh_span(), ..*self }
    }

    /// The 32 hex digits that all spans of the trace share.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

fn fresh_span() -> u64 {
    // The low half of a v4 UUID has 62 random bits; zero is not a valid span.
    (Uuid::new_v4().as_u128() as u64).max(1)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = ();

    /// Reads a header; anything malformed means that the caller starts a new trace.
    fn from_str(text: &str) -> Result<Self, ()> {
        let field =
            |range: std::ops::Range<usize>| text.get(range).filter(|hex| hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        let bytes = text.as_bytes();
        let shaped = text.len() == 55 && text.starts_with("00-") && bytes[35] == b'-' && bytes[52] == b'-';
        let trace = field(3..35).and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let span = field(36..52).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let flags = field(53..55).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (shaped, trace, span, flags) {
            (true, Some(trace), Some(span), Some(flags)) if trace != 0 && span != 0 => Ok(Self { trace, span, flags }),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_survives_its_text_form_and_children_share_the_trace() {
        let root = TraceParent::root();
        assert_eq!(root.to_string().parse(), Ok(root));
        assert_eq!(root.child().trace_id(), root.trace_id());
        assert_ne!(root.child(), root);
    }

    #[test]
    fn malformed_headers_are_refused() {
        for text in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-1",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(()), "{text}");
        }
    }
}
