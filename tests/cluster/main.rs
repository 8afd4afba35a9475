//! Tests the connector on a cluster of three RabbitMQ nodes. `make test-cluster` installs and
//! starts it; without it, they are skipped. `make test-cluster-rmqtt` runs them on RMQTT; a test that
//! this engine cannot pass says why, and is not run.
//!
//! RabbitMQ keeps sessions and queued messages on all nodes, but retained messages only on the
//! node that they were published to, and sends none to subscriptions with wildcards.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod access;
mod ank_fleet;
mod chaos;
mod cluster;
mod delivery;
mod presence;
mod replicas;
mod rollouts;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod vehicle;
