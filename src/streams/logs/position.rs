//! How far a log has come.
//!
//! Lines have no times of their own, only that of their arrival. Of lines that come
//! as they are written it tells when they were written. But what there is already
//! when a log is asked for arrives much later than it was written: a log that is lost
//! in the midst of that must be asked for from further back.

use std::time::{Duration, SystemTime};

/// Within this time Ankaios gives what there is when it is asked for a log.
const CATCH_UP: Duration = Duration::from_secs(10);

/// So much faster than lines were written does it give them.
const SPEED: u32 = 2;

/// How far a log has come that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    asked: SystemTime,
    since: Option<SystemTime>,
    arrived: SystemTime,
}

impl Position {
    /// The position in a log that is asked for now; `None` asks for the whole of it.
    pub(super) fn begin(since: Option<SystemTime>) -> Self {
        let now = SystemTime::now();
        Self { asked: now, since, arrived: now }
    }

    /// Something has arrived.
    pub(super) fn moved(&mut self, arrived: SystemTime) {
        self.arrived = arrived;
    }

    /// What was written before this time has come, but for what was under way.
    /// `None`: perhaps not even the first line.
    pub(super) fn reached(&self) -> Option<SystemTime> {
        let elapsed = self.arrived.duration_since(self.asked).unwrap_or_default();
        if elapsed >= CATCH_UP {
            return Some(self.arrived);
        }
        let since = self.since?;
        Some(since.max(self.arrived.min(since + elapsed * SPEED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Asked an hour ago for what was written in the last of so many seconds.
    fn position(seconds: u32, elapsed: Duration) -> (SystemTime, Option<SystemTime>) {
        let asked = SystemTime::now() - 3600 * SECOND;
        let since = Some(asked - seconds * SECOND);
        let position = Position { asked, since, arrived: asked + elapsed };
        (asked, position.reached())
    }

    #[test]
    fn what_was_written_long_ago_has_not_come_at_once() {
        let (asked, reached) = position(60, SECOND);
        assert_eq!(reached, Some(asked - 58 * SECOND));
        let (asked, reached) = position(1, SECOND / 4);
        assert_eq!(reached, Some(asked - SECOND / 2));
    }

    #[test]
    fn what_comes_as_it_is_written_is_as_late_as_its_arrival() {
        let (asked, reached) = position(1, 2 * SECOND);
        assert_eq!(reached, Some(asked + 2 * SECOND));
        let (asked, reached) = position(3600, CATCH_UP);
        assert_eq!(reached, Some(asked + CATCH_UP));
    }

    #[test]
    fn a_whole_log_is_not_known_to_have_come_for_a_while() {
        let mut position = Position::begin(None);
        assert_eq!(position.reached(), None);
        let later = position.asked + CATCH_UP;
        position.moved(later);
        assert_eq!(position.reached(), Some(later));
    }
}
