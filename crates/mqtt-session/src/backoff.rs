//! Waits between connections.

use std::fmt::Display;
use std::time::Duration;

use service_kit::backoff::Backoff;
use service_kit::random;

/// The first wait is between this and twice this.
const FIRST: Duration = Duration::from_millis(100);

/// No wait is longer than about twice this.
const LONGEST: Duration = Duration::from_secs(10);

/// After a connection that lasted so long, waits begin again with the shortest one. A broker
/// that accepts and closes at once is not tried more often.
const STABLE_CONNECTION: Duration = Duration::from_secs(10);

/// The waits between the connections of one client. They double, with jitter.
///
/// When a node of a broker ends, all its clients lose their connections at the same moment. So the
/// first wait after a connection that worked is longer by a random part of `spread`.
#[derive(Debug)]
pub struct ReconnectWaits {
    backoff: Backoff,
    spread: Duration,
}

impl ReconnectWaits {
    /// Begins with the shortest wait.
    #[must_use]
    pub fn new(spread: Duration) -> Self {
        Self { backoff: Backoff::with_jitter(FIRST, LONGEST), spread }
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

    const SPREAD: Duration = Duration::from_secs(60);

    #[test]
    fn a_fleet_that_has_lost_its_broker_comes_back_spread_over_the_time() {
        let lost = || ReconnectWaits::new(SPREAD).next_wait(Some(STABLE_CONNECTION));
        let waits: Vec<Duration> = (0..6000).map(|_| lost()).collect();
        let longest = SPREAD + 2 * FIRST;
        assert!(waits.iter().all(|wait| (FIRST..longest).contains(wait)));
        // About a hundred in each second.
        for second in 1..60 {
            let seconds = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let count = waits.iter().filter(|wait| seconds.contains(*wait)).count();
            assert!((50..150).contains(&count), "{count} in second {second}");
        }
    }

    #[test]
    fn a_connection_that_never_worked_is_not_spread_and_backs_off() {
        let mut waits = ReconnectWaits::new(SPREAD);
        assert!(waits.next_wait(None) <= 2 * FIRST);
        let last = (0..20).map(|_| waits.next_wait(None)).last();
        assert!(last.is_some_and(|wait| (LONGEST..=2 * LONGEST).contains(&wait)));
    }
}
