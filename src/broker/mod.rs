//! What the messages of the MQTT session mean to this vehicle.
//!
//! ```text
//!  vehicle    Vehicle: the application of the session
//!   ├ presence   the status messages
//!   └ incoming   what the topic of a message means
//!  request    user properties of requests and replies
//! ```
//!
//! [`Vehicle`] tells the session its subscriptions and its status, and what each message is;
//! messages between replicas are for the lease in [`replica`](crate::replica). All others go
//! on to the router as [`Incoming`].

mod incoming;
mod presence;
pub mod request;
mod vehicle;

pub use incoming::{Incoming, MAX_RECORD};
pub use vehicle::Vehicle;
