//! How long to wait before the next connection.

use std::fmt::Display;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first wait is between this and twice this.
const FIRST: Duration = Duration::from_millis(100);

/// No wait is longer than about twice this.
const LONGEST: Duration = Duration::from_secs(10);

/// A connection that has lasted so long was a good one.
const STABLE: Duration = Duration::from_secs(10);

/// Doubling waits with jitter, so that a fleet does not come back all at once.
#[derive(Debug)]
pub struct Backoff {
    delays: ExponentialBackoff,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

impl Backoff {
    /// Begins with the shortest wait.
    #[must_use]
    pub fn new() -> Self {
        let delays = ExponentialBuilder::new()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST)
            .with_jitter()
            .without_max_times()
            .build();
        Self { delays }
    }

    /// The wait after a connection that was up for `lasted`. Starts from the
    /// beginning only after a connection that was stable: a broker that accepts
    /// and closes at once must not be hammered.
    pub fn next(&mut self, lasted: Duration) -> Duration {
        if lasted >= STABLE {
            *self = Self::new();
        }
        self.delays.next().unwrap_or(LONGEST)
    }
}

/// The wait as the log shows it, in whole milliseconds.
pub(super) fn format_wait(wait: Duration) -> impl Display {
    let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_and_start_anew_after_a_stable_connection() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..50).map(|_| backoff.next(Duration::ZERO)).collect();
        assert!(waits.first().is_some_and(|wait| (FIRST..=2 * FIRST).contains(wait)));
        assert!(waits.last().is_some_and(|wait| *wait >= LONGEST));
        assert!(waits.iter().all(|wait| *wait <= 2 * LONGEST));
        assert!(backoff.next(STABLE) <= 2 * FIRST);
    }
}
