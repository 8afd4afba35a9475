//! Times in RFC 3339 format.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that can be formatted, 9999-12-31T23:59:59Z, in seconds since 1970.
const MAX_SECONDS: u64 = 253_402_300_799;

/// Formats a time in UTC with milliseconds: `2026-01-31T12:00:00.000Z`. A time before 1970 or
/// after the year 9999, which only a wrong clock has, becomes the nearest that can be formatted.
#[must_use]
pub fn format(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(clamp(time)).to_string()
}

/// The same without milliseconds: `2026-01-31T12:00:00Z`.
#[must_use]
pub fn format_seconds(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(clamp(time)).to_string()
}

/// `humantime` panics on times outside of these years.
fn clamp(time: SystemTime) -> SystemTime {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + since_epoch.min(Duration::from_secs(MAX_SECONDS))
}

/// Parses a time with `Z` or an offset such as `+01:00`; `None` if the text is not a time, or if
/// the time is before 1970 or after the year 9999 in UTC.
#[must_use]
pub fn parse(text: &str) -> Option<SystemTime> {
    let Some((local, sign, offset)) = split_offset(text) else {
        return humantime::parse_rfc3339(text).ok();
    };
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let time = if sign == '+' { local.checked_sub(offset) } else { local.checked_add(offset) };
    time.filter(|time| {
        time.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() <= MAX_SECONDS)
    })
}

/// Splits a time into the local time, the sign of its offset from UTC, and the offset.
fn split_offset(text: &str) -> Option<(&str, char, Duration)> {
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let sign = offset.chars().next().filter(|sign| ['+', '-'].contains(sign))?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |digits: &str, limit: u64| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| is_number && *number < limit)
    };
    let minutes = number(hours, 24)? * 60 + number(minutes, 60)?;
    Some((local, sign, Duration::from_secs(minutes * 60)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_format_of_rfc_3339() {
        for (time, utc) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
            ("2026-01-31T12:00:00.123Z", "2026-01-31T12:00:00.123Z"),
            ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00.000Z"),
            ("2026-01-31T12:00:00.5-11:30", "2026-01-31T23:30:00.500Z"),
        ] {
            assert_eq!(format(parse(time).unwrap()), utc, "{time}");
        }
        for wrong in [
            "",
            "now",
            "10m",
            "2026-01-31",
            "2026-01-31 12:00:00",
            "2026-13-31T12:00:00Z",
            "2026-01-31T12:00:00+25:00",
            "2026-01-31T12:00:00+01:99",
            "2026-01-31T12:00:00+0100",
            "2026-01-31T12:00:00++1:00",
            "ü:00:00",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_that_cannot_be_formatted_are_refused_and_do_not_panic() {
        for time in ["1970-01-01T00:00:00+01:00", "9999-12-31T23:59:59-23:59"] {
            assert_eq!(parse(time), None, "{time}");
        }
        for time in ["1970-01-01T01:00:00+01:00", "9999-12-31T23:59:59Z"] {
            assert!(parse(time).is_some(), "{time}");
        }
        let hour = Duration::from_secs(3600);
        assert_eq!(format(UNIX_EPOCH - hour), "1970-01-01T00:00:00.000Z");
        let last = parse("9999-12-31T23:59:59Z").unwrap();
        assert_eq!(format(last + hour), "9999-12-31T23:59:59.000Z");
        assert_eq!(format_seconds(UNIX_EPOCH - hour), "1970-01-01T00:00:00Z");
        assert_eq!(format_seconds(last + hour), "9999-12-31T23:59:59Z");
    }
}
