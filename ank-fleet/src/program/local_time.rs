//! Times as operators write and read them: in the time zone of their machine.

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use super::failure::Failure;
use crate::Time;

/// Parses `--until`: a point in time, or the next such time of day in the zone of `now`. Where
/// clocks are set forward at that time, it is as much later.
///
/// # Errors
/// What is wrong.
pub(crate) fn until(text: &str, now: &ZonedDateTime) -> Result<Time, Failure> {
    if let Ok(time) = Time::try_from(text.to_owned()) {
        return Ok(time);
    }
    let wrong = || {
        Failure::usage(format!(
            "--until: {text:?} is not a time, for example 05:00, or 2026-01-31T05:00:00Z"
        ))
    };
    let of_day = time_of_day(text).ok_or_else(wrong)?;
    let next =
        |date: civil::Date| date.to_datetime(of_day).to_zoned_datetime(now.time_zone().clone());
    let today = next(now.date()).map_err(|_| wrong())?;
    let time = if today > *now {
        today
    } else {
        now.date().tomorrow().and_then(next).map_err(|_| wrong())?
    };
    let millis = u64::try_from(time.timestamp().as_millisecond()).map_err(|_| wrong())?;
    Ok(Time::from_millis(millis))
}

/// A time with its zone: `2026-01-31 05:00 Europe/Berlin`.
pub(crate) fn describe(time: Time, zone: &TimeZone) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match Timestamp::from_millisecond(millis) {
        Ok(timestamp) => {
            timestamp.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M %:Q").to_string()
        }
        Err(_) => time.to_string(),
    }
}

/// Parses `HH:MM`.
fn time_of_day(text: &str) -> Option<civil::Time> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i8>().ok().filter(|_| is_number)
    };
    civil::Time::new(two(hours)?, two(minutes)?, 0, 0).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A zone with summer time, without the files of the system.
    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn now(text: &str) -> ZonedDateTime {
        text.parse::<civil::DateTime>().unwrap().to_zoned_datetime(berlin()).unwrap()
    }

    #[test]
    fn times_of_day_are_the_next_ones_in_the_local_zone() {
        let now = now("2026-01-30T06:00:00");
        let text = |of: &str| until(of, &now).unwrap().to_string();
        assert_eq!(text("07:30"), "2026-01-30T06:30:00.000Z");
        assert_eq!(text("05:00"), "2026-01-31T04:00:00.000Z");
        assert_eq!(text("06:00"), "2026-01-31T05:00:00.000Z");
        assert_eq!(text("2026-01-31T05:00:00Z"), "2026-01-31T05:00:00.000Z");
        for wrong in ["5:00", "24:00", "05:60", "05", "+5:00", "soon", ""] {
            assert!(until(wrong, &now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn clocks_that_are_set_meanwhile_count() {
        let (spring, autumn) = (now("2026-03-28T22:00:00"), now("2026-10-24T22:00:00"));
        let text = |of: &str, now: &ZonedDateTime| until(of, now).unwrap().to_string();
        assert_eq!(text("05:00", &spring), "2026-03-29T03:00:00.000Z");
        assert_eq!(text("05:00", &autumn), "2026-10-25T04:00:00.000Z");
        // There is no 02:30 on that day.
        assert_eq!(text("02:30", &spring), "2026-03-29T01:30:00.000Z");
    }

    #[test]
    fn times_are_written_with_their_zone() {
        let time = until("05:00", &now("2026-01-30T06:00:00")).unwrap();
        assert_eq!(describe(time, &berlin()), "2026-01-31 05:00 +01:00");
        assert_eq!(describe(time, &TimeZone::UTC), "2026-01-31 04:00 UTC");
    }
}
