//! Types of [Eclipse Ankaios](https://eclipse-ankaios.github.io/ankaios/): the protobuf messages of
//! its control interface, manifests in YAML, and states in JSON.
//!
//! ```text
//!  manifest (YAML, JSON) ── manifest ──┐             ┌── json ──► state (JSON: `sdk`, `ankaios`)
//!                                      ▼             │
//!  state (JSON: `ankaios`) ── json ──► proto: protobuf messages
//!                                      ▲
//!                                   schema: the checks that Ankaios makes for each field
//! ```
//!
//! - [`proto`]: the messages of the control interface, generated from `.proto` files.
//! - [`manifest`]: parses a manifest, and creates the update that applies or deletes it.
//! - [`json`]: writes states and events as JSON, and parses a state in Ankaios' own format.
//! - [`update_mask`]: which fields an update touches, and the state after it.
//! - [`foreign`], [`hints`]: for error messages: what was sent instead, what was probably meant.
//! - [`InstanceName`]: the name of a workload instance.
//! - `schema` (private): Ankaios' own format of each field, with its checks. The other modules and
//!   the functions and traits below use it.
//!
//! All functions are pure: no I/O, no clock, no async, no state. This crate does not communicate
//! with Ankaios; the crate `ankaios-control` does. The README has an example and the limits of
//! manifests.

#![forbid(unsafe_code)]

pub mod foreign;
pub mod hints;
mod instance_name;
pub mod json;
mod line_column;
pub mod manifest;
pub mod node_limit;
pub mod proto;
mod schema;
pub mod update_mask;

pub use instance_name::{InstanceName, InvalidInstanceName};
pub use schema::{FromText, deserialize_text, field_mask_has_empty_part, is_identifier, is_name};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
