//! Several connectors for one vehicle: exactly one is active, and another one takes
//! over with everything that is under way when it is gone.

mod broker;
mod fleet;
mod identity;
mod protocol;
mod replica;
mod statuses;
mod takeover;
mod uplink;

use std::time::Duration;

/// The shortest that is allowed.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// From the end of the active replica to the first reply of the next one.
pub(crate) const SWITCH_OVER: Duration = Duration::from_secs(3);
