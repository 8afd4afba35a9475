//! Several connectors for one vehicle, one of which is active.
//!
//! ```text
//!  standby    waits until this replica should become active
//!   ├ election      decides when; pure, no I/O and no clock
//!   └ seen_records  the records of the active replica
//!  lease      the checks of the active replica before and while it uses the session
//!  observer   receives the messages of the active replica, for both
//! ```
//!
//! The session at the broker is the token. It has one connection at a time. The replica that has
//! this connection receives the requests, including those that the previous active replica has
//! not acknowledged. A standby receives the status messages over a separate connection. When the
//! status says `offline`, the standby waits for a random time, so that not all replicas try at
//! once, and takes over the session unless another replica has done so by then.
//!
//! - The last will of a replica whose session was taken over says `offline`, too. So the status
//!   after the wait is what counts.
//! - An active replica that loses its connection usually reconnects before the wait of the
//!   others is over. Before it resumes the session it asks who is active: if another replica has
//!   taken over, it goes to standby. So a replica that is too late never takes the session back.
//! - A process that sees its own name in an `online` status takes over at once: it is the status
//!   of its previous process, whose end the broker has not noticed yet.
//! - A replica without a link to Ankaios lets the others go first.
//! - A broker that has crashed publishes no last wills. It may have retained the `online` of a
//!   replica that has ended, or nothing. A cluster may have what is retained on one node only. So a
//!   status that was retained before the standby subscribed is not trusted: the active replica is
//!   asked to publish it again.
//! - When a node of a cluster crashes, nobody publishes the last wills of its clients. So a standby
//!   asks again if it has seen no status for the keep-alive time.
//! - A standby that loses its own connection may have lost it with the node of the active replica, or
//!   alone. So the replica that was active still counts as active, and is asked.
//! - What the active replica has retained may be on a node that is lost. So a standby watches the
//!   records of subscriptions and rollouts, and resumes them when it becomes active. A replica that
//!   has heard no active one lets the others go first: they may have the records.

mod election;
mod lease;
mod observer;
mod seen_records;
mod standby;

pub(crate) use lease::Lease;
pub(crate) use seen_records::{SeenRecord, SeenRecords};
pub(crate) use standby::Standby;
