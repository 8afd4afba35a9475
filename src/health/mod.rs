//! Health and metrics over HTTP, for probes and monitoring.
//!
//! ```text
//!  server      accepts connections and limits them
//!   ├ livez    whether the tasks make progress
//!   ├ readyz   whether requests can be served, and why not
//!   └ metrics  the page of all metrics, as OpenMetrics text; those of the process
//!  client      the subcommand `health`
//!  address     where health and metrics are served
//! ```
//!
//! This module reads the state of the session, the link, the guard, the revisions and the trust, and
//! the metrics, which each part defines in its own `metrics.rs`; the connector hands it what it needs
//! for that (`Endpoints`). No other part depends on it, except `settings` on the type of an address.
//! Nothing runs here while there is no request.

mod address;
mod client;
mod livez;
mod metrics;
mod readyz;
mod server;

pub use address::{Address, AddressError};
pub use client::{Endpoint, ProbeError, ProbeResponse, probe};
pub(crate) use livez::Liveness;
pub(crate) use metrics::MetricsPage;
pub(crate) use readyz::Readiness;
pub use server::BindError;
pub(crate) use server::Server;

/// The endpoints that are served.
#[derive(Debug)]
pub(crate) struct Endpoints {
    /// `/livez`.
    pub(crate) liveness: Liveness,
    /// `/readyz`.
    pub(crate) readiness: Readiness,
    /// `/metrics`.
    pub(crate) metrics: MetricsPage,
}
