//! Several connectors for one vehicle, one of which is active.
//!
//! ```text
//!  standby    waits until this replica is to be active
//!   └ election   decides when that is: pure, no I/O and no clock
//!  lease      what the active replica checks before and while it uses the session
//!  observer   watches the status topic, for both
//! ```
//!
//! The session at the broker is the token. It has one connection at a time, and the replica that
//! has it receives the requests, also those that the replica before has not acknowledged. A standby
//! watches the status topic by a connection of its own. When the active replica is gone, which
//! its farewell or its last will tells, the standby waits for a random time, so that not all
//! come at once, and takes the session over unless another replica has done so by then.
//!
//! - The last will of a replica whose session was taken over says `offline`, too. So what
//!   counts is the status after the wait.
//! - An active replica whose connection breaks is back sooner than the wait of the others.
//!   Before it resumes the session it looks at the status: if another replica has taken over,
//!   it goes to standby. A replica that is too late never takes the session back.
//! - A process that finds its own name to be active succeeds itself: the broker has not
//!   noticed yet that the process before it is gone.
//! - A replica without a link to Ankaios lets the others go first.
//! - A broker that has crashed publishes no last wills, and may still have retained the
//!   `online` of a replica that is gone, or nothing. So a status that was retained before the
//!   standby subscribed is doubted, and the active replica is asked to publish it again.

mod election;
mod lease;
mod observer;
mod standby;

pub use lease::Lease;
pub use standby::Standby;
