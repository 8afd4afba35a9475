//! Durations that a clock that is set does not change.
//!
//! The system clock may jump by years: a device without a battery for it starts in 1970. So a
//! duration is measured by a clock that is never set:
//!
//! | clock | counts while the device is suspended | used for |
//! |---|---|---|
//! | `CLOCK_MONOTONIC`: [`Instant`], timers of Tokio | no | how long others may take |
//! | `CLOCK_BOOTTIME`: [`Deadline`] | yes | how long something was promised to last |
//!
//! Where the system clock is needed, a [`Moment`] says how far it was set back since.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep};

/// 2019-01-01: a clock that was not set shows an earlier time, and these programs are younger.
const EARLIEST: Duration = Duration::from_secs(1_546_300_800);

/// How late a deadline may be noticed after the device was suspended: the timers of Tokio stand
/// still meanwhile.
const CHECK: Duration = Duration::from_secs(30);

/// Whether a system clock that shows this time can have been set since the device has started.
#[must_use]
pub fn is_set(time: SystemTime) -> bool {
    time.duration_since(UNIX_EPOCH).is_ok_and(|since| since >= EARLIEST)
}

/// What is left of a duration that ends at `end` by the system clock; `None` if it has passed. All
/// of it is left if the clock is not set now or was not set when the duration began: then nobody
/// knows how much has passed.
#[must_use]
pub fn left_of(duration: Duration, end: SystemTime, now: SystemTime) -> Option<Duration> {
    if !is_set(now) || !end.checked_sub(duration).is_some_and(is_set) {
        return Some(duration);
    }
    end.duration_since(now).ok().map(|left| left.min(duration))
}

/// The time since the device has started, including the time for which it was suspended.
#[must_use]
pub fn uptime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A point in time, by the monotonic clock and by the system clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the monotonic clock.
    pub instant: Instant,
    /// By the system clock.
    pub time: SystemTime,
}

impl Moment {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }

    /// How far the system clock was set back between this moment and `now`; zero if it was not, or
    /// was set forward.
    #[must_use]
    pub fn set_back(self, now: Self) -> Duration {
        let expected = match now.instant.checked_duration_since(self.instant) {
            Some(later) => self.time.checked_add(later),
            None => self.time.checked_sub(self.instant.duration_since(now.instant)),
        };
        let set_back = expected.and_then(|expected| expected.duration_since(now.time).ok());
        set_back.unwrap_or_default()
    }
}

/// The end of a duration. The time for which the device is suspended counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// By the clock of Tokio, which tests can advance. `None` if it is too far away.
    at: Option<Instant>,
    /// In [`uptime`].
    at_uptime: Duration,
}

impl Deadline {
    /// The end of a duration that begins now.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        let at_uptime = uptime().saturating_add(duration);
        Self { at: Instant::now().checked_add(duration), at_uptime }
    }

    /// The time until then; zero if it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.left_at(Instant::now(), uptime())
    }

    fn left_at(self, now: Instant, uptime: Duration) -> Duration {
        let left = self.at_uptime.saturating_sub(uptime);
        self.at.map_or(left, |at| at.saturating_duration_since(now).min(left))
    }

    /// Waits until then. After the device was suspended, this may be half a minute too late.
    pub async fn passed(self) {
        loop {
            let left = self.left();
            if left.is_zero() {
                return;
            }
            sleep(left.min(CHECK)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    #[test]
    fn a_clock_in_1970_is_not_set() {
        assert!(!is_set(UNIX_EPOCH) && !is_set(UNIX_EPOCH - SECOND) && !is_set(UNIX_EPOCH + YEAR));
        assert!(is_set(SystemTime::now()) && is_set(UNIX_EPOCH + 100 * YEAR));
    }

    #[test]
    fn all_of_a_duration_is_left_by_a_clock_that_is_not_set() {
        let (now, hour) = (SystemTime::now(), 3600 * SECOND);
        assert_eq!(left_of(hour, now + 60 * SECOND, now), Some(60 * SECOND));
        assert_eq!(left_of(hour, now - SECOND, now), None);
        // The clock was set back meanwhile.
        assert_eq!(left_of(hour, now + YEAR, now), Some(hour));
        assert_eq!(left_of(hour, now + 60 * SECOND, UNIX_EPOCH + YEAR), Some(hour));
        assert_eq!(left_of(hour, UNIX_EPOCH + YEAR, now), Some(hour));
        assert_eq!(left_of(hour, UNIX_EPOCH, now), Some(hour));
    }

    #[test]
    fn a_moment_says_how_far_the_clock_was_set_back() {
        let then = Moment::now();
        let minute = 60 * SECOND;
        for (time, set_back) in [
            (then.time + minute, Duration::ZERO),
            (then.time + minute - SECOND, SECOND),
            (then.time - 50 * YEAR, 50 * YEAR + minute),
            (then.time + 50 * YEAR, Duration::ZERO),
        ] {
            let now = Moment { instant: then.instant + minute, time };
            assert_eq!(then.set_back(now), set_back, "{time:?}");
        }
        // The moment is later than `now`.
        let later = Moment { instant: then.instant + minute, time: then.time + minute };
        assert_eq!(later.set_back(then), Duration::ZERO);
        assert_eq!(later.set_back(Moment { time: then.time - SECOND, ..then }), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_after_its_duration() {
        let start = Instant::now();
        let deadline = Deadline::after(3600 * SECOND);
        assert!(deadline.left() > 3599 * SECOND);
        deadline.passed().await;
        assert!(start.elapsed() >= 3600 * SECOND && start.elapsed() < 3601 * SECOND);
        assert_eq!(deadline.left(), Duration::ZERO);
        Deadline::after(Duration::ZERO).passed().await;
        assert!(Deadline::after(Duration::MAX).left() > 1000 * YEAR);
    }

    #[test]
    fn the_time_for_which_the_device_is_suspended_counts() {
        let (now, uptime) = (Instant::now(), uptime());
        let deadline = Deadline { at: Some(now + 60 * SECOND), at_uptime: uptime + 60 * SECOND };
        assert_eq!(deadline.left_at(now + SECOND, uptime + SECOND), 59 * SECOND);
        assert_eq!(deadline.left_at(now + SECOND, uptime + 41 * SECOND), 19 * SECOND);
        assert_eq!(deadline.left_at(now + SECOND, uptime + YEAR), Duration::ZERO);
    }
}
