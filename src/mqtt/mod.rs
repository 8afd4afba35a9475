//! The MQTT 5 session with the broker.
//!
//! ```text
//!  session      the task that keeps the session over any number of connections
//!   ├ connection   one connection; connection_error: why it has ended
//!   │ ├ connect    how it is opened, last will
//!   │ ├ tls        certificates, and what a failed handshake means
//!   │ ├ login      user name and password
//!   │ ├ network    packets out, packets in; disconnect: short forms of one of them
//!   │ ├ unsent     packets on their way into it
//!   │ ├ piggyback  how long acknowledgements wait for company
//!   │ └ liveness   whether it is still alive
//!   ├ backoff      how long to wait before the next one
//!   ├ status       what the status topic says
//!   ├ request      a PUBLISH packet as a request
//!   ├ waiting      requests that nobody has taken yet
//!   ├ deliveries   which requests may be acknowledged, in which order
//!   ├ queue        the way to the session for what is to be published
//!   ├ message      what is published
//!   ├ recall       takes back what is not wanted any more
//!   ├ outbox       keeps it until the broker has taken it
//!   ├ size_limit   what is too large for the broker
//!   └ refusals     what the broker may take later
//!  reporter     how the session fares, for those who watch it
//!  metrics      what is counted of it
//!  standby      waits until this one of several connectors is to be the active one
//!   └ observer     watches the status topic by a connection of its own
//! ```
//!
//! Of the client library, rumqttc 0.25, only the packets are used: their types,
//! how they are read and how they are written. Its `EventLoop` is not, because
//! what it adds is what a session that must lose nothing has to do by itself:
//! - It waits for a free packet identifier with the message in hand, and goes on
//!   waiting if the broker refuses the message that held the identifier.
//! - Acknowledgements that were queued for one connection reach the next, where
//!   their identifiers mean something else. What was not acknowledged is thrown
//!   away when the broker has lost the session.
//! - It does not return while the broker reads nothing, and cannot be dropped
//!   then without losing a packet. How far sending and receiving have come is
//!   not to be seen, so a slow line looks like a dead one.
//! - It does not subscribe again, only logs a refused subscription, has no
//!   back-off, and tries a message that is too large for the broker for ever.
//! - It makes a system call for each packet, copies each payload, and keeps for
//!   the whole connection a buffer as large as the largest packet.
//!
//! What is put into one connection (acknowledgements, packet identifiers) cannot
//! reach the next, because each has a network of its own.

mod backoff;
mod connect;
mod connection;
mod connection_error;
mod deliveries;
mod disconnect;
mod liveness;
mod login;
mod message;
mod metrics;
mod network;
mod observer;
mod outbox;
mod piggyback;
mod queue;
mod recall;
mod refusals;
mod reporter;
mod request;
mod session;
mod size_limit;
mod standby;
mod status;
mod tls;
mod unsent;
mod waiting;

pub use backoff::Backoff;
pub use connect::Options;
pub(crate) use login::is_loopback;
pub use login::{Login, Password, PasswordError};
pub use message::{Outgoing, Publication, Reply};
pub use metrics::Metrics;
pub use queue::{Receiver, Sender, SessionEnded, queue};
pub use recall::Recall;
pub use reporter::{Reporter, SessionStatus};
pub(crate) use request::MAX_RECORD;
pub use request::{Refused, Request};
pub use session::{Ended, Session};
pub use standby::Standby;
pub use status::Presence;
pub(crate) use tls::server_name;
pub use tls::{Identity, Tls, TlsError};
