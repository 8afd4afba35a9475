//! Random ids and durations. They differ, but are not secret: do not use them for cryptography.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::time::Duration;

/// A random id: sixteen hexadecimal digits.
#[must_use]
pub fn hex() -> String {
    format!("{:016x}", number())
}

/// A random duration in a range, in whole milliseconds.
#[must_use]
pub fn duration(range: &Range<Duration>) -> Duration {
    let width = range.end.saturating_sub(range.start).as_millis();
    let offset = u128::from(number()).checked_rem(width).unwrap_or_default();
    range.start + Duration::from_millis(u64::try_from(offset).unwrap_or_default())
}

fn number() -> u64 {
    // Each `RandomState` has different keys, which start at random values in each process.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn ids_differ() {
        let many: std::collections::BTreeSet<_> = (0..1000).map(|_| super::hex()).collect();
        assert_eq!(many.len(), 1000);
    }

    #[test]
    fn durations_are_spread_over_their_range() {
        let [start, end] = [500, 1500].map(Duration::from_millis);
        let many: Vec<_> = (0..1000).map(|_| super::duration(&(start..end))).collect();
        assert!(many.iter().all(|one| (start..end).contains(one)));
        let middle = (start + end) / 2;
        assert!((300..700).contains(&many.iter().filter(|one| **one < middle).count()));
        assert_eq!(super::duration(&(start..start)), start);
    }
}
