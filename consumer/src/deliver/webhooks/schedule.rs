//! When a delivery is tried again: eleven attempts over about 76 hours, spread by a fifth, and never earlier than the receiver asks.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Seconds between one attempt and the next.
const DELAYS_S: [f64; 10] = [5.0, 60.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0];
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// What an overloaded receiver gets at least.
const OVERLOAD_PAUSE_S: f64 = 60.0;

/// The delay after the attempt that follows `attempts` earlier ones; none after the last. `jitter` is from 0.8 to 1.2.
pub(super) fn delay(attempts: u32, scale: f64, jitter: f64) -> Option<f64> {
    DELAYS_S.get(attempts as usize).map(|seconds| seconds * scale * jitter)
}

/// The least delay after this status and `Retry-After`.
pub(super) fn wish(status: u16, retry_after: Option<&str>, scale: f64, now: DateTime<Utc>) -> f64 {
    let asked = retry_after.and_then(|text| seconds_of(text, now)).unwrap_or_default().min(RETRY_AFTER_MAX).as_secs_f64();
    let overloaded = matches!(status, 429 | 502 | 504);
    asked.max(if overloaded { OVERLOAD_PAUSE_S * scale } else { 0.0 })
}

/// `Retry-After` holds seconds or a date.
fn seconds_of(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    (DateTime::parse_from_rfc2822(text).ok()?.to_utc() - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_eleven_attempts_within_76_hours() {
        let delays: Vec<f64> = (0..).map_while(|attempts| delay(attempts, 1.0, 1.0)).collect();
        assert_eq!(delays.len(), 10);
        assert_eq!((delays.iter().sum::<f64>() / 3600.0).round(), 76.0);
        assert_eq!(delay(1, 0.01, 1.2), Some(60.0 * 0.01 * 1.2));
    }

    #[test]
    fn a_receiver_may_ask_for_seconds_or_a_date_of_at_most_a_day() {
        let now = DateTime::parse_from_rfc2822("Sun, 06 Nov 1994 08:49:00 GMT").unwrap().to_utc();
        for (text, seconds) in [
            ("120", 120.0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
            ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
            ("99999999", 86_400.0),
            ("soon", 0.0),
        ] {
            assert_eq!(wish(500, Some(text), 1.0, now), seconds, "{text}");
        }
    }

    #[test]
    fn an_overloaded_receiver_is_given_a_pause() {
        assert_eq!(wish(429, None, 1.0, Utc::now()), 60.0);
        assert_eq!(wish(503, None, 1.0, Utc::now()), 0.0);
    }
}
