//! Completion windows: how long a batch may take, as the client writes it (`24h`).

use crate::error::ApiError;

/// Longest window: seven days.
pub const WINDOW_SECONDS_MAX: u64 = 7 * 24 * 3600;

/// Seconds of a window such as `90s`, `30m`, `24h` or `7d`, within the given minimum and seven days.
pub fn parse(text: &str, seconds_min: u64) -> Result<u64, ApiError> {
    let refused = || {
        ApiError::invalid_value(
            "completion_window",
            format!("`completion_window` must be a number of hours or days such as `24h` or `2d`, from {seconds_min} s to 7 d"),
        )
    };
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(refused)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(refused()),
    };
    let canonical = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    number
        .parse::<u64>()
        .ok()
        .filter(|_| canonical)
        .and_then(|number| number.checked_mul(factor))
        .filter(|seconds| (seconds_min.max(1)..=WINDOW_SECONDS_MAX).contains(seconds))
        .ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_in_their_units() {
        assert_eq!(parse("24h", 3600), Ok(86_400));
        assert_eq!(parse("7d", 3600), Ok(WINDOW_SECONDS_MAX));
        assert_eq!(parse("2s", 1), Ok(2));
    }

    #[test]
    fn windows_outside_the_limits_or_the_grammar_are_refused() {
        for text in ["", "h", "24", "59m", "8d", "-1h", "+2h", "1.5h", "24H", "24hé", "99999999999999999999d"] {
            assert!(parse(text, 3600).is_err(), "{text}");
        }
    }
}
