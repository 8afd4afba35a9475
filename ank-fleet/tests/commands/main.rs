//! The commands against a real Mosquitto, real connectors and simulated vehicles.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod follow;
mod get;
mod hostile;
mod interruptions;
mod operators;
mod rollouts;
mod signed;
mod support;
mod terminal;
mod usage;
