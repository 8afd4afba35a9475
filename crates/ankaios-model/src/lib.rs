//! Messages, manifests and states of [Eclipse Ankaios](https://eclipse-ankaios.github.io/ankaios/)
//! as Rust types.
//!
//! ```text
//!  YAML  ── manifest ──┐               ┌── json ──►  JSON, format `sdk` or `ankaios`
//!                      ▼               │
//!  JSON  ── json ──►  proto: messages of the control interface
//!                      ▲
//!              schema: what Ankaios accepts in each field
//! ```
//!
//! - [`proto`]: the messages of the control interface, generated from `proto/`.
//! - [`manifest`]: reads a manifest with the checks of Ankaios' schema, and makes the update
//!   that applies or deletes it.
//! - [`json`]: writes states and events as JSON, and reads a state in Ankaios' own format.
//! - [`InstanceName`]: names one instance of a workload.
//!
//! Everything here is a pure function of its input: no I/O, no clock, no async. How messages
//! travel to and from Ankaios is the business of the crate `ankaios-control`.
//!
//! ```
//! use ankaios_model::manifest::Manifest;
//!
//! let manifest = Manifest::parse(
//!     b"apiVersion: v1\nworkloads:\n  web:\n    runtime: podman\n    agent: agent_A\n    \
//!       runtimeConfig: \"image: docker.io/library/nginx\"\n",
//! )?;
//! assert_eq!(manifest.update_mask(), ["desiredState.workloads.web"]);
//! # Ok::<(), ankaios_model::manifest::ManifestError>(())
//! ```

#![forbid(unsafe_code)]

mod instance_name;
pub mod json;
pub mod manifest;
pub mod proto;
mod schema;

pub use instance_name::{InstanceName, InvalidInstanceName};
pub use schema::{FromText, deserialize_text, has_empty_part, is_identifier, is_name};
