//! Health and metrics over HTTP, for probes and for monitoring.
//!
//! ```text
//!  server      takes connections, and lets no client take too much
//!   ├ livez    asks the tasks whether they get on
//!   ├ readyz   whether requests can be served, and why not
//!   └ metrics  all metrics as OpenMetrics text
//!  client      the command `health`, which asks them
//!  address     where
//! ```
//!
//! Data flows one way: this module looks at the parts of the connector, and none
//! of them knows it. Nothing happens here while nobody asks.

mod address;
mod client;
mod livez;
mod metrics;
mod readyz;
mod server;

pub use address::{Address, AddressError};
pub use client::{Answer, AskError, Endpoint, ask};
pub use livez::Liveness;
pub use metrics::Metrics;
pub use readyz::Readiness;
pub use server::{BindError, Server};

/// What is served.
#[derive(Debug)]
pub struct Health {
    /// `/livez`.
    pub liveness: Liveness,
    /// `/readyz`.
    pub readiness: Readiness,
    /// `/metrics`.
    pub metrics: Metrics,
}
