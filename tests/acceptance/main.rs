//! Tests of the contract and of the interfaces between the parts: real Mosquitto, real FIFOs,
//! the real binary, and a simulated Ankaios. They are one binary, because linking each file
//! separately takes longer than its tests.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod abandoned_streams;
mod brokers;
mod capacity;
mod clock;
mod contract;
mod daemon;
mod dashboard;
mod disk;
mod documents;
mod fleet;
mod guard;
mod health;
mod link;
mod link_reasons;
mod listeners;
mod logs;
mod monitoring;
mod mqtt;
mod names;
mod network;
mod operations;
mod own_workload;
mod payloads;
mod reason_codes;
mod records;
mod replicas;
mod revisions;
mod session;
mod slow_uplink;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod trials;
mod trust;
mod uplink;
