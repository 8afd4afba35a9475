//! How far the log of an instance has been delivered.

use std::time::{Duration, SystemTime};

/// How long Ankaios takes at most to send the lines that exist when a log is requested.
const CATCH_UP: Duration = Duration::from_secs(10);

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
        since: Option<SystemTime>,
        /// A message that arrives at this time or later is not part of these lines.
        live_from: SystemTime,
    },
    /// Lines are delivered as they are written.
    Live {
        /// When the last message arrived.
        arrived: SystemTime,
    },
}

impl LogPosition {
    /// The position in a log whose request for lines `since` a time is accepted at `now`,
    /// or was accepted shortly before.
    pub(super) fn new(since: Option<SystemTime>, now: SystemTime) -> Self {
        let age = since.map_or(CATCH_UP, |since| now.duration_since(since).unwrap_or_default());
        Self::CatchingUp { since, live_from: now + age.min(CATCH_UP) }
    }

    /// Records that a message was published that had arrived at this time.
    pub(super) fn advance(&mut self, arrived: SystemTime) {
        match self {
            Self::CatchingUp { live_from, .. } if arrived < *live_from => {}
            _ => *self = Self::Live { arrived },
        }
    }

    /// The time until which lines have been delivered, except for the last moments before it.
    /// After an interruption the log is requested from this time on. `None` means that perhaps not
    /// even the first line was delivered.
    pub(super) fn delivered_until(&self) -> Option<SystemTime> {
        match self {
            Self::CatchingUp { since, .. } => *since,
            Self::Live { arrived } => Some(*arrived),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Until when a log has been delivered, in seconds after its request was accepted. It
    /// was requested `age` seconds back (`None` is from its first line), and one message
    /// arrived `arrival` seconds after the acceptance.
    fn delivered_until(age: Option<i64>, arrival: i64) -> Option<i64> {
        let time = |seconds: i64| SystemTime::UNIX_EPOCH + SECOND * (3600 + seconds) as u32;
        let mut position = LogPosition::new(age.map(|age| time(-age)), time(0));
        position.advance(time(arrival));
        let until = position.delivered_until()?.duration_since(SystemTime::UNIX_EPOCH);
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
        let accepted = SystemTime::now();
        let mut position = LogPosition::new(Some(accepted), accepted);
        position.advance(accepted - SECOND);
        assert_eq!(position.delivered_until(), Some(accepted));
    }

    #[test]
    fn a_log_that_is_live_stays_live_when_the_clock_is_set_back() {
        let accepted = SystemTime::now();
        let mut position = LogPosition::new(None, accepted);
        position.advance(accepted + CATCH_UP);
        position.advance(accepted - 3600 * SECOND);
        assert_eq!(position, LogPosition::Live { arrived: accepted - 3600 * SECOND });
    }
}
