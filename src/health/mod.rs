//! Health and metrics over HTTP, for probes and monitoring.
//!
//! ```text
//!  server      accepts connections, and limits what each may take
//!   ├ livez    whether the tasks make progress
//!   ├ readyz   whether requests can be served, and why not
//!   └ metrics  all metrics as OpenMetricsPage text
//!  client      the command `health`
//!  address     where they are served
//! ```
//!
//! Data flows one way: this module reads the parts of the connector, and none of them knows
//! it. Nothing runs here while nobody asks.

mod address;
mod client;
mod livez;
mod metrics;
mod readyz;
mod server;

pub use address::{Address, AddressError};
pub use client::{Answer, AskError, Endpoint, ask};
pub use livez::Liveness;
pub use metrics::MetricsPage;
pub use readyz::Readiness;
pub use server::{BindError, Server};

/// The endpoints that are served.
#[derive(Debug)]
pub struct Endpoints {
    /// `/livez`.
    pub liveness: Liveness,
    /// `/readyz`.
    pub readiness: Readiness,
    /// `/metrics`.
    pub metrics: MetricsPage,
}
