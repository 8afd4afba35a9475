//! How far the log of an instance has been delivered.

use std::time::{Duration, SystemTime};

use ankaios_control::Moment;
use tokio::time::Instant;

/// How long Ankaios takes at most to send the lines that exist when a log is requested.
const CATCH_UP: Duration = Duration::from_secs(10);

/// A time from which on a log is requested, and when that was found out: lines have the times of
/// the system clock, which may be set back in the meantime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since {
    time: SystemTime,
    noted: Moment,
}

impl Since {
    /// A time that is known at `now`.
    pub(super) fn new(time: SystemTime, now: Moment) -> Self {
        Self { time, noted: now }
    }

    /// The time by the system clock of `now`. If that was set forward, lines with the earlier
    /// times are still requested; if it was set back, the new lines have earlier times.
    pub(super) fn at(self, now: Moment) -> SystemTime {
        self.time.checked_sub(self.noted.set_back(now)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl From<Moment> for Since {
    fn from(moment: Moment) -> Self {
        Self::new(moment.time, moment)
    }
}

/// How far the log of an instance has been delivered: still catching up, or live.
///
/// Lines have no timestamps; only the arrival of a message is known. Ankaios first sends
/// the lines that exist already, and then each line when it is written. It does not mark
/// where the first part ends, so a rule decides. The rule measures how long after the
/// acceptance of the request a message arrives: a log is live from the first message whose delay
/// is at least as long as the time that the request reaches back, or at least [`CATCH_UP`]. It
/// holds because existing lines arrive faster than they were written. Once a log is live, the arrival of a message means
/// that whatever was written before has been delivered, except for the last moments: a
/// line takes some time to arrive.
///
/// An interrupted log is requested again, with a small overlap: a live one from its last
/// arrival on, one that catches up from the same time as before. Lines may come twice, but
/// none is missing.
///
/// An arrival is the earliest time at which a message can have arrived, as the reader of
/// the control interface determines it. The time at which the message is published would
/// be wrong: the message may have waited for a slow uplink, or for a process without CPU time,
/// while the log was already interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogPosition {
    /// The lines that existed at the request may not have been delivered yet.
    CatchingUp {
        /// The log was requested from this time on; `None` means from its first line.
        since: Option<Since>,
        /// A message that arrives at this time or later is not part of these lines.
        live_from: Instant,
    },
    /// Lines are delivered as they are written.
    Live {
        /// When the last message arrived.
        arrived: Moment,
    },
}

impl LogPosition {
    /// The position in a log whose request for lines `since` a time is accepted at `now`,
    /// or was accepted shortly before.
    pub(super) fn new(since: Option<SystemTime>, now: Moment) -> Self {
        let age =
            since.map_or(CATCH_UP, |since| now.time.duration_since(since).unwrap_or_default());
        let since = since.map(|since| Since::new(since, now));
        Self::CatchingUp { since, live_from: now.instant + age.min(CATCH_UP) }
    }

    /// Records that a message was published that had arrived at this time.
    pub(super) fn advance(&mut self, arrived: Moment) {
        match self {
            Self::CatchingUp { live_from, .. } if arrived.instant < *live_from => {}
            _ => *self = Self::Live { arrived },
        }
    }

    /// The time until which lines have been delivered, except for the last moments before it.
    /// After an interruption the log is requested from this time on. `None` means that perhaps not
    /// even the first line was delivered.
    pub(super) fn delivered_until(&self) -> Option<Since> {
        match self {
            Self::CatchingUp { since, .. } => *since,
            Self::Live { arrived } => Some((*arrived).into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// `seconds` after a log was requested, by both clocks.
    fn at(accepted: Moment, seconds: i64) -> Moment {
        let by = SECOND * u32::try_from(seconds.abs()).unwrap();
        let Moment { instant, time } = accepted;
        match seconds < 0 {
            true => Moment { instant: instant - by, time: time - by },
            false => Moment { instant: instant + by, time: time + by },
        }
    }

    /// Until when a log has been delivered, in seconds after its request was accepted. It
    /// was requested `age` seconds back (`None` is from its first line), and one message
    /// arrived `arrival` seconds after the acceptance.
    fn delivered_until(age: Option<i64>, arrival: i64) -> Option<i64> {
        let accepted = at(Moment::now(), 3600);
        let mut position = LogPosition::new(age.map(|age| at(accepted, -age).time), accepted);
        position.advance(at(accepted, arrival));
        let until = position.delivered_until()?.at(at(accepted, arrival));
        let until = until.duration_since(at(accepted, -3600).time);
        Some(until.unwrap().as_secs() as i64 - 3600)
    }

    #[test]
    fn a_log_that_is_interrupted_early_is_requested_from_the_same_time_again() {
        assert_eq!(delivered_until(Some(60), 1), Some(-60));
        assert_eq!(delivered_until(Some(60), 9), Some(-60));
        assert_eq!(delivered_until(Some(3), 2), Some(-3));
        assert_eq!(delivered_until(None, 9), None);
    }

    #[test]
    fn a_log_is_live_after_the_time_that_the_request_reaches_back_and_after_ten_seconds() {
        assert_eq!(delivered_until(Some(60), 10), Some(10));
        assert_eq!(delivered_until(Some(3), 3), Some(3));
        assert_eq!(delivered_until(Some(0), 0), Some(0));
        assert_eq!(delivered_until(Some(-5), 0), Some(0));
        assert_eq!(delivered_until(None, 10), Some(10));
    }

    #[test]
    fn a_message_that_arrived_before_the_acceptance_was_noticed_does_not_make_a_log_live() {
        let accepted = Moment::now();
        let mut position = LogPosition::new(Some(accepted.time), accepted);
        position.advance(at(accepted, -1));
        assert_eq!(position.delivered_until().map(|until| until.at(accepted)), Some(accepted.time));
    }

    #[test]
    fn a_log_that_is_live_stays_live_when_the_clock_is_set_back() {
        let accepted = Moment::now();
        let mut position = LogPosition::new(None, accepted);
        position.advance(at(accepted, 10));
        let arrived = Moment { time: accepted.time - 3600 * SECOND, ..at(accepted, 11) };
        position.advance(arrived);
        assert_eq!(position, LogPosition::Live { arrived });
    }

    #[test]
    fn a_clock_that_is_set_makes_a_log_neither_live_too_early_nor_never() {
        const YEARS: Duration = Duration::from_secs(50 * 365 * 24 * 3600);
        let accepted = Moment::now();
        for set in [accepted.time + YEARS, accepted.time - YEARS] {
            let mut position = LogPosition::new(None, accepted);
            position.advance(Moment { time: set, ..at(accepted, 9) });
            assert!(matches!(position, LogPosition::CatchingUp { .. }));
            position.advance(Moment { time: set, ..at(accepted, 10) });
            assert!(matches!(position, LogPosition::Live { .. }));
        }
    }

    #[test]
    fn what_was_not_delivered_is_requested_whichever_way_the_clock_is_set() {
        let arrived = at(Moment::now(), 0);
        let since = Since::from(arrived);
        let hour = 3600 * SECOND;
        let after = |time| since.at(Moment { time, ..at(arrived, 60) });
        // Not set, and set forward.
        assert_eq!(after(arrived.time + 60 * SECOND), arrived.time);
        assert_eq!(after(arrived.time + 9000 * hour), arrived.time);
        // Set back: from a minute ago, by the new clock.
        assert_eq!(after(arrived.time - hour), arrived.time - hour - 60 * SECOND);
        assert_eq!(after(SystemTime::UNIX_EPOCH), SystemTime::UNIX_EPOCH - 60 * SECOND);
    }
}
