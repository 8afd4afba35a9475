//! Waits between connections.

use std::fmt::Display;
use std::time::Duration;

use service_kit::backoff::Backoff;

/// The first wait is between this and twice this.
const FIRST: Duration = Duration::from_millis(100);

/// No wait is longer than about twice this.
const LONGEST: Duration = Duration::from_secs(10);

/// After a connection that lasted so long, waits begin again with the shortest one. A broker
/// that accepts and closes at once is not tried more often.
pub const STABLE_CONNECTION: Duration = Duration::from_secs(10);

/// Doubling waits with jitter, so that a fleet does not come back all at once. For
/// [`Backoff::next_wait_after`] with [`STABLE_CONNECTION`].
#[must_use]
pub fn reconnect_backoff() -> Backoff {
    Backoff::with_jitter(FIRST, LONGEST)
}

/// A wait as the log shows it, in whole milliseconds.
pub fn format_wait(wait: Duration) -> impl Display {
    let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(milliseconds))
}
