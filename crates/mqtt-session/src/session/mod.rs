//! The task that owns the connection to the broker. It awaits nothing that could keep it from
//! serving the connection.

mod acknowledge;
mod connection_lost;
mod incoming;
mod outgoing;
mod published;
mod run;
mod state;
mod subscribe;

pub use state::{Ended, Session};
