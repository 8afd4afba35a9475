//! The time by which signed requests are judged.

use std::time::{SystemTime, UNIX_EPOCH};

use fleet_contract::operation::Operation;
use fleet_trust::{Purpose, Role};

/// When this program was built, in Unix seconds.
const BUILT_AT: &str = env!("BUILT_AT");

/// The time of the system clock, but never before what is known to be past.
///
/// A vehicle may start with a clock that shows 1970, and whoever controls its source of time may set
/// it back to before a statement expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    /// In Unix seconds.
    now: i64,
    /// Whether the system clock can be right. One that was set back behind an accepted statement
    /// can: refusing everything then would let whoever sets it stop all signed requests.
    is_plausible: bool,
}

impl Clock {
    /// The time now. `newest_not_before` is that of the accepted statements.
    pub(super) fn now(newest_not_before: i64) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let system = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self::at(system, BUILT_AT.parse().unwrap_or_default(), newest_not_before)
    }

    /// The time if the system clock shows `system` and the program was built at `built`.
    fn at(system: i64, built: i64, newest_not_before: i64) -> Self {
        Self { now: system.max(newest_not_before).max(built), is_plausible: system >= built }
    }

    /// What a request must be for.
    pub(super) fn purpose(self, operation: Operation, vin: &str, role: Role) -> Purpose<'_> {
        Purpose {
            operation: operation.name(),
            vin,
            role,
            now: self.now,
            clock_is_plausible: self.is_plausible,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_never_before_the_build_or_an_accepted_statement() {
        for (system, newest, now, is_plausible) in [
            (0, 0, 1000, false),
            (999, 5000, 5000, false),
            (1000, 0, 1000, true),
            (2000, 5000, 5000, true),
            (6000, 5000, 6000, true),
        ] {
            assert_eq!(Clock::at(system, 1000, newest), Clock { now, is_plausible });
        }
        assert!(Clock::now(0).is_plausible);
    }
}
