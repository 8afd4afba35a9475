//! Growing waits between attempts.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Waits that double from one attempt to the next, up to a limit.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    max: Duration,
}

impl Backoff {
    /// The first wait is `min`; no wait is longer than `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self::build(ExponentialBuilder::new(), min, max)
    }

    /// Like [`new`](Self::new), but makes each wait longer by a random part of itself, so that many
    /// processes do not retry at the same time.
    #[must_use]
    pub fn with_jitter(min: Duration, max: Duration) -> Self {
        Self::build(ExponentialBuilder::new().with_jitter(), min, max)
    }

    fn build(builder: ExponentialBuilder, min: Duration, max: Duration) -> Self {
        let builder = builder.with_min_delay(min).with_max_delay(max).without_max_times();
        Self { builder, delays: builder.build(), max }
    }

    /// Returns the wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.max)
    }

    /// Makes the next wait the shortest one again.
    pub fn reset(&mut self) {
        self.delays = self.builder.build();
    }

    /// Returns the wait after something that worked for `lasted`. The waits start again with the
    /// shortest one only if that was at least `stable`, so that something that breaks immediately
    /// is not retried too often.
    pub fn next_wait_after(&mut self, lasted: Duration, stable: Duration) -> Duration {
        if lasted >= stable {
            self.reset();
        }
        self.next_wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(10);

    #[test]
    fn waits_double_up_to_a_limit() {
        let mut backoff = Backoff::new(MIN, MAX);
        // In whole milliseconds, because the waits are computed with floating-point numbers.
        let waits: Vec<_> = (0..50).map(|_| backoff.next_wait().as_millis()).collect();
        assert_eq!(waits.first_chunk(), Some(&[100, 200, 400]));
        assert_eq!(waits.last(), Some(&MAX.as_millis()));
        backoff.reset();
        assert_eq!(backoff.next_wait(), MIN);
    }

    #[test]
    fn waits_with_jitter_grow_up_to_a_limit_and_start_again_after_a_stable_attempt() {
        let stable = Duration::from_secs(10);
        let mut backoff = Backoff::with_jitter(MIN, MAX);
        let mut next = |lasted| backoff.next_wait_after(lasted, stable);
        let waits: Vec<_> = (0..50).map(|_| next(Duration::ZERO)).collect();
        assert!(waits.first().is_some_and(|wait| (MIN..=2 * MIN).contains(wait)));
        assert!(waits.last().is_some_and(|wait| *wait >= MAX));
        assert!(waits.iter().all(|wait| *wait <= 2 * MAX));
        assert!(next(stable) <= 2 * MIN);
    }
}
