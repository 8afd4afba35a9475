//! Waits between connections.

use std::fmt::Display;
use std::time::Duration;

use service_kit::backoff::Backoff;
use service_kit::random;

/// The first wait is between this and twice this.
const FIRST: Duration = Duration::from_millis(100);

/// No wait is longer than about twice this.
const LONGEST: Duration = Duration::from_secs(10);

/// With a spread longer than this, [`FIRST`] and [`LONGEST`] are as many times longer.
const USUAL_SPREAD: Duration = Duration::from_secs(1);

/// [`LONGEST`] is not made longer than this.
const MAX_LONGEST: Duration = Duration::from_secs(300);

/// After a connection that lasted so long, waits begin again with the shortest one. A broker
/// that accepts and closes at once is not tried more often.
const STABLE_CONNECTION: Duration = Duration::from_secs(10);

/// The waits between the connections of one client. They double, with jitter.
///
/// When a node of a broker ends, all its clients lose their connections at the same moment. So the
/// first wait after a connection that worked is longer by a random part of `spread`.
///
/// The larger a fleet, the longer its spread, and the more attempts that fail. A broker that is busy
/// with refusing them accepts fewer and fewer. So all waits are longer, too: at last, a vehicle tries
/// once in ten to twenty times the spread, or in five to ten minutes if that is less.
#[derive(Debug)]
pub struct ReconnectWaits {
    backoff: Backoff,
    spread: Duration,
}

impl ReconnectWaits {
    /// Begins with the shortest wait.
    #[must_use]
    pub fn new(spread: Duration) -> Self {
        let factor = spread.div_duration_f64(USUAL_SPREAD).max(1.0);
        let [first, longest] = [FIRST, LONGEST].map(|wait| wait.mul_f64(factor).min(MAX_LONGEST));
        Self { backoff: Backoff::with_jitter(first, longest), spread }
    }

    /// The wait after a connection that worked for `lasted`; `None` if it never worked.
    pub fn next_wait(&mut self, lasted: Option<Duration>) -> Duration {
        let wait =
            self.backoff.next_wait_after(lasted.unwrap_or(Duration::ZERO), STABLE_CONNECTION);
        let spread = lasted.map(|_| random::duration(&(Duration::ZERO..self.spread)));
        wait + spread.unwrap_or_default()
    }
}

/// A wait as the log shows it, in whole milliseconds.
pub fn format_wait(wait: Duration) -> impl Display {
    let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Duration = Duration::from_secs(10);

    #[test]
    fn a_fleet_that_has_lost_its_broker_comes_back_spread_over_the_time() {
        let lost = || ReconnectWaits::new(SPREAD).next_wait(Some(STABLE_CONNECTION));
        let waits: Vec<Duration> = (0..1000).map(|_| lost()).collect();
        let first = 10 * FIRST;
        assert!(waits.iter().all(|wait| (first..SPREAD + 2 * first).contains(wait)));
        // About a hundred in each second.
        for second in 2..10 {
            let seconds = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let count = waits.iter().filter(|wait| seconds.contains(*wait)).count();
            assert!((50..150).contains(&count), "{count} in second {second}");
        }
    }

    /// The first and the last wait of attempts of which none works.
    fn failing(spread: Duration) -> (Duration, Duration) {
        let mut waits = ReconnectWaits::new(spread);
        let first = waits.next_wait(None);
        (first, (0..20).map(|_| waits.next_wait(None)).fold(first, |_, last| last))
    }

    #[test]
    fn a_connection_that_never_worked_is_not_spread_and_backs_off() {
        for spread in [Duration::ZERO, USUAL_SPREAD / 2, USUAL_SPREAD] {
            let (first, last) = failing(spread);
            assert!(first <= 2 * FIRST);
            assert!((LONGEST..=2 * LONGEST).contains(&last));
        }
    }

    #[test]
    fn the_larger_the_fleet_the_longer_are_the_waits_after_attempts_that_fail() {
        let (first, last) = failing(SPREAD);
        assert!((10 * FIRST..=20 * FIRST).contains(&first), "{first:?}");
        assert!((10 * LONGEST..=20 * LONGEST).contains(&last), "{last:?}");
        let (first, last) = failing(Duration::from_secs(3600));
        assert!(first <= 2 * MAX_LONGEST);
        assert!((MAX_LONGEST..=2 * MAX_LONGEST).contains(&last));
    }
}
