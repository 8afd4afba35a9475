//! Several connectors for one vehicle: exactly one is active, and when it fails, another one
//! takes over with all requests and subscriptions.

mod broker;
mod fleet;
mod identity;
mod protocol;
mod replica;
mod statuses;
mod takeover;
mod uplink;

use std::time::Duration;

/// The shortest keep-alive time that is allowed.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The longest time from the end of the active replica to the first reply of the next one.
pub(crate) const SWITCH_OVER: Duration = Duration::from_secs(3);
