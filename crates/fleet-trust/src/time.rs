//! Times in Unix seconds and in RFC 3339.

use std::time::{Duration, UNIX_EPOCH};

/// The last second that can be formatted, 9999-12-31T23:59:59Z.
const MAX: i64 = 253_402_300_799;

/// Parses a time of the form `2026-11-25T10:00:00Z`, and no other. One form is enough, because
/// programs write statements.
pub(crate) fn parse(text: &str) -> Option<i64> {
    // The parser accepts more: fractions of a second, `+00:00`, leap seconds.
    let time = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let seconds = i64::try_from(time.as_secs()).ok()?;
    (format(seconds) == text).then_some(seconds)
}

/// Formats a time. A time before 1970 or after the year 9999 becomes the nearest that can be
/// formatted.
pub(crate) fn format(seconds: i64) -> String {
    let seconds = u64::try_from(seconds.min(MAX)).unwrap_or_default();
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_form() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-25T10:00:00Z", 1_795_600_800),
            ("2028-02-29T23:59:59Z", 1_835_481_599),
            ("9999-12-31T23:59:59Z", MAX),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
            assert_eq!(format(seconds), text);
        }
        for text in [
            "",
            "now",
            "2026-11-25",
            "2026-11-25 10:00:00Z",
            "2026-11-25T10:00:00",
            "2026-11-25T10:00:00z",
            "2026-11-25T10:00:00.000Z",
            "2026-11-25T10:00:00+00:00",
            "2026-11-25T10:00:00+01:00",
            "2026-11-25T23:59:60Z",
            "2026-02-29T10:00:00Z",
            "1969-12-31T23:59:59Z",
            "+2026-11-25T10:00:00Z",
            "10000-01-01T00:00:00Z",
            " 2026-11-25T10:00:00Z",
            "２026-11-25T10:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(format(i64::MIN), "1970-01-01T00:00:00Z");
        assert_eq!(format(i64::MAX), "9999-12-31T23:59:59Z");
    }
}
