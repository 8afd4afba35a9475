//! Metrics of the fleet for Prometheus.

mod metrics;
mod server;

pub(crate) use metrics::{RolloutCounts, RolloutState, Snapshot, text};
pub(crate) use server::serve;
