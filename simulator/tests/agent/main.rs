//! The simulated agent, as a workload sees it over the FIFOs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod recorded;
mod session;
mod streams;
mod workload;
