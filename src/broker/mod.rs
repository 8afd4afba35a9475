//! What the messages of the MQTT session mean to this vehicle.
//!
//! ```text
//!  vehicle    Vehicle: the application of the session
//!   ├ presence   the status messages
//!   ├ status_requests  requests to all vehicles of a fleet for their status
//!   ├ shorten    messages that are too large for the broker
//!   └ incoming   what the topic of a message means
//!  request    user properties of requests and replies
//! ```
//!
//! [`Vehicle`] gives the session its subscriptions and its status messages, and decides what each
//! received message is. Messages between replicas go to the lease in [`replica`](crate::replica);
//! all others go to the router as [`Incoming`].

mod incoming;
mod presence;
pub(crate) mod request;
mod shorten;
mod status_requests;
mod vehicle;

pub(crate) use incoming::Incoming;
pub(crate) use presence::Identity;
pub(crate) use status_requests::StatusRequests;
pub(crate) use vehicle::{PartStatuses, Vehicle};
