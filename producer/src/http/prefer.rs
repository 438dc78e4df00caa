//! The `Prefer` header (RFC 7240): whether a client wants the answer on this connection or a place to look for it.

use std::time::Duration;

use axum::http::HeaderMap;

/// What a client prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefer {
    /// The answer, however long it takes. Also with `wait=N` alone, which is a hint and no licence for a 202.
    Answer,
    /// `respond-async`: the answer if it comes within `wait`, else a 202.
    Place { wait: Duration },
}

impl Prefer {
    /// Reads all `Prefer` headers; unknown preferences are ignored, as the RFC asks.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let texts = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let mut respond_async = false;
        let mut wait = None;
        for preference in texts.flat_map(|text| text.split(',')) {
            let preference = preference.split(';').next().unwrap_or_default().trim();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => respond_async = true,
                // The first of several equal preferences counts.
                "wait" => wait = wait.or_else(|| value.trim().trim_matches('"').parse().ok()),
                _ => {}
            }
        }
        if respond_async { Self::Place { wait: Duration::from_secs(wait.unwrap_or(0)) } } else { Self::Answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_in_all_their_spellings() {
        let place = |seconds| Prefer::Place { wait: Duration::from_secs(seconds) };
        for (headers, expected) in [
            (&[][..], Prefer::Answer),
            (&["respond-async"], place(0)),
            (&["Respond-Async, wait=10"], place(10)),
            (&["respond-async", "wait = \"7\""], place(7)),
            (&["respond-async; foo=bar, wait=10; x, wait=20"], place(10)),
            (&["wait=10"], Prefer::Answer),
            (&["return=minimal"], Prefer::Answer),
            (&["respond-async, wait=soon"], place(0)),
        ] {
            let mut map = HeaderMap::new();
            for header in headers {
                map.append("prefer", header.parse().unwrap());
            }
            assert_eq!(Prefer::of(&map), expected, "{headers:?}");
        }
    }
}
