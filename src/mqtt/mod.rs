//! The MQTT 5 session with the broker.
//!
//! ```text
//!  session      the task that polls the connection; reconnects
//!   ├ connect     options of a connection, last will
//!   ├ deliveries  which requests may be acknowledged, in which order
//!   ├ outbox      what is published, until the broker has taken it
//!   ├ liveness    whether the connection is still alive
//!   ├ waiting     requests that nobody has taken yet
//!   └ request     a PUBLISH packet as a request
//! ```
//!
//! The client library polls one connection per `EventLoop`, and each connection
//! gets a new one: what was queued for an old connection (acknowledgements,
//! packet identifiers) cannot reach the next.

mod backoff;
mod connect;
mod deliveries;
mod liveness;
mod outbox;
mod request;
mod session;
mod waiting;

pub use backoff::Backoff;
pub use connect::Options;
pub use outbox::{Outgoing, Publication, Reply};
pub use request::{Refused, Request};
pub use session::{Presence, Session};
