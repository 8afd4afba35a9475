//! `RATE_LIMIT`: the requests per second that are admitted of each operation.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleet_contract::error::{ErrorCode, ErrorReply};

/// Requests per second and operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RateLimit(f64);

impl RateLimit {
    /// The lowest and the highest limit.
    const RANGE: std::ops::RangeInclusive<f64> = 0.001..=100_000.0;

    /// The size of a bucket: the tokens of one second, and at least one.
    fn burst(self) -> f64 {
        self.0.max(1.0)
    }
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = text.parse::<f64>().ok().filter(|rate| Self::RANGE.contains(rate));
        rate.map(Self).ok_or_else(|| {
            "it is not a number from 0.001 to 100000; write requests per second, for example 10"
                .into()
        })
    }
}

/// A token bucket for each operation. A request takes one token; they are refilled at the
/// rate of the limit.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: RateLimit,
    /// The bucket of each operation. A lock, because the guard is shared with the blocking pool,
    /// where policies are checked.
    buckets: Mutex<HashMap<&'static str, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    refilled_at: Instant,
}

impl Limiter {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self { limit, buckets: Mutex::default() }
    }

    /// Takes a token for a request at the time `now`.
    ///
    /// # Errors
    /// No token is left; says when there will be one.
    pub(super) fn admit(&self, operation: &'static str, now: Instant) -> Result<(), ErrorReply> {
        let rate = self.limit.0;
        let full = self.limit.burst();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(operation).or_insert(Bucket { tokens: full, refilled_at: now });
        let passed = now.saturating_duration_since(bucket.refilled_at).as_secs_f64();
        let tokens = (bucket.tokens + passed * rate).min(full);
        let admitted = tokens >= 1.0;
        *bucket = Bucket { tokens: if admitted { tokens - 1.0 } else { tokens }, refilled_at: now };
        if admitted {
            return Ok(());
        }
        // Rounded up, so that there is a token by then.
        let wait = Duration::from_millis(((1.0 - tokens) / rate * 1000.0).ceil() as u64);
        Err(ErrorReply::new(
            ErrorCode::Forbidden,
            format!(
                "RATE_LIMIT allows {rate} requests of {operation} per second; try again in {}",
                humantime::format_duration(wait)
            ),
        )
        .with("rule", "RATE_LIMIT")
        .with("limit", rate)
        .with("retry_after_ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_one_second_passes_and_then_the_rate() {
        let limiter = Limiter::new("5".parse().unwrap());
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        for _ in 0..5 {
            limiter.admit("state", start).unwrap();
        }
        let refused = limiter.admit("state", start).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Forbidden);
        assert_eq!(refused.details["retry_after_ms"], 200);
        assert!(refused.message.contains("5 requests of state per second"), "{refused}");
        assert!(refused.message.contains("in 200ms"), "{refused}");
        // Another operation has a bucket of its own.
        limiter.admit("manifest/apply", start).unwrap();
        limiter.admit("state", at(199)).unwrap_err();
        limiter.admit("state", at(201)).unwrap();
        limiter.admit("state", at(202)).unwrap_err();
        for _ in 0..5 {
            limiter.admit("state", at(60_000)).unwrap();
        }
        limiter.admit("state", at(60_000)).unwrap_err();
        // A clock that goes back takes no tokens.
        limiter.admit("state", start).unwrap_err();
    }

    #[test]
    fn less_than_one_per_second_lets_one_pass_at_a_time() {
        let limiter = Limiter::new("0.5".parse().unwrap());
        let start = Instant::now();
        limiter.admit("state", start).unwrap();
        let refused = limiter.admit("state", start).unwrap_err();
        assert_eq!(refused.details["retry_after_ms"], 2000);
        limiter.admit("state", start + Duration::from_secs(2)).unwrap();
    }

    #[test]
    fn a_limit_is_a_positive_number() {
        for wrong in ["", "0", "-1", "NaN", "inf", "ten", "10/s", "1e9"] {
            assert!(wrong.parse::<RateLimit>().is_err(), "{wrong}");
        }
        assert_eq!("10".parse(), Ok(RateLimit(10.0)));
    }
}
