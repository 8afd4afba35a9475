//! Connects a vehicle that runs Eclipse Ankaios to its operators over MQTT.
//!
//! ```text
//!  operators ── MQTT broker
//!                  │ requests           ▲ replies, status
//!         ┌────────▼────────────────────┴───┐
//!         │ mqtt        the session          │  polls the connection, reconnects, acknowledges
//!         └────────┬────────────────────▲───┘
//!                  │ Request            │ Reply
//!         ┌────────▼────────────────────┴───┐
//!         │ router      topic → operation    │  keeps the order, one reply for each request
//!         │ operations  one file each        │
//!         │ streams     what goes on         │  subscriptions, logs, roll-outs
//!         │ guard       what is allowed      │  protected workloads, policy, rate limit
//!         └────────┬────────────────────▲───┘
//!                  │ typed call         │ typed result
//!         ┌────────▼────────────────────┴───┐
//!         │ ankaios     client and link      │  request ids, timeouts, handshake, recovery
//!         └────────┬────────────────────▲───┘
//!                  ▼ output             │ input
//!                Ankaios agent
//! ```
//!
//! Data flows down one side and up the other, and each box knows only the one
//! below it. Beside them stand pure functions: [`manifest`] (YAML to desired
//! state and masks), [`json`] (state to reply), [`topics`] and [`error`].
//! [`connector`] makes the tasks, those between the session and the link anew each
//! time this one of several replicas becomes the active one; `main.rs` gives them
//! settings and signals.
//! [`dashboard`] is another user of [`ankaios`], without MQTT. [`health`] tells over
//! HTTP how all of them fare: it looks at them, and none of them knows it.

#![forbid(unsafe_code)]

mod activation;
pub mod ankaios;
pub mod connector;
pub mod dashboard;
pub mod error;
pub mod guard;
pub mod health;
pub mod json;
pub mod logging;
pub mod manifest;
pub mod mqtt;
pub mod operations;
pub mod process;
pub mod progress;
pub mod proto;
mod random;
pub mod router;
mod schema;
pub mod settings;
pub mod streams;
pub mod topics;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
