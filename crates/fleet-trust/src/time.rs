//! Times in Unix seconds and in RFC 3339, and the earliest time that it can be.

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

/// The earliest time that it can be: the build time of the program or, if it is later, the
/// newest `not_before` of the accepted statements. All times are Unix seconds.
///
/// A vehicle may start with a clock that shows 1970, and whoever controls its source of time may
/// set it back to before a statement expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeFloor(i64);

impl TimeFloor {
    /// `newest_not_before` is what [`newest`](Self::newest) was before the restart, if anything
    /// was kept.
    #[must_use]
    pub fn new(build_time: i64, newest_not_before: Option<i64>) -> Self {
        Self(newest_not_before.map_or(build_time, |newest| newest.max(build_time)))
    }

    /// Records the time of an accepted statement. Returns whether the floor is higher now, and must
    /// be stored.
    pub fn accept(&mut self, not_before: i64) -> bool {
        let is_higher = not_before > self.0;
        self.0 = self.0.max(not_before);
        is_higher
    }

    /// The value to store.
    #[must_use]
    pub fn newest(&self) -> i64 {
        self.0
    }

    /// The time for [`Purpose::now`](crate::Purpose::now): that of the clock, but not before the
    /// floor.
    #[must_use]
    pub fn now(&self, clock: i64) -> i64 {
        clock.max(self.0)
    }

    /// Whether the clock can be right, for
    /// [`Purpose::clock_is_plausible`](crate::Purpose::clock_is_plausible).
    #[must_use]
    pub fn is_plausible(&self, clock: i64) -> bool {
        clock >= self.0
    }
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

    #[test]
    fn the_time_is_never_before_the_build_or_an_accepted_statement() {
        let mut floor = TimeFloor::new(1000, None);
        assert_eq!(floor.now(0), 1000);
        assert!(!floor.is_plausible(999));
        assert!(floor.is_plausible(1000));
        assert_eq!(floor.now(5000), 5000);

        assert!(!floor.accept(900));
        assert!(floor.accept(2000));
        assert!(!floor.accept(2000));
        assert_eq!(floor.now(1500), 2000);
        assert!(!floor.is_plausible(1500));

        assert_eq!(TimeFloor::new(1000, Some(floor.newest())), floor);
        assert_eq!(TimeFloor::new(3000, Some(floor.newest())).newest(), 3000);
    }
}
