//! The task that owns the connection to the broker. It awaits nothing that could keep it from
//! serving the connection.
//!
//! | module | what it does |
//! |---|---|
//! | `state` | the state of a session, over any number of connections |
//! | `run` | connects, and handles one event after the other |
//! | `subscribe` | subscribes on a new connection |
//! | `broker` | what the broker offers, and what the session does without |
//! | `incoming` | packets of the broker; from PUBLISH to the inbox |
//! | `outgoing` | from the queue to PUBLISH |
//! | `published` | what follows the PUBACK of the broker |
//! | `acknowledge` | when received messages are acknowledged |
//! | `connection_lost` | what is kept for the next connection |

mod acknowledge;
mod broker;
mod connection_lost;
mod incoming;
mod outgoing;
mod published;
mod run;
mod state;
mod subscribe;

pub use state::{Ended, Session};
