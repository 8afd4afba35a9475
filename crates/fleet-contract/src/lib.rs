//! What a fleet connector and its operators agree on: topics, operations, messages and errors.
//!
//! ```text
//!  operator                                                   connector
//!     │  vehicle/<VIN>/<operation>/req    requests              │
//!     │ ──────────────────────────────────────────────────────► │ topics: which operation, which vehicle
//!     │  vehicle/<VIN>/<operation>/resp   replies, or error     │
//!     │ ◄────────────────────────────────────────────────────── │
//!     │  vehicle/<VIN>/connector/status   status (retained)     │
//!     │  vehicle/<VIN>/manifest/apply/status   rollout          │
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`topics`] | makes the topics of one vehicle, and tells what a topic is |
//! | [`operation`] | the operations by name |
//! | [`requests`] | the payloads of requests, with the checks of their shape |
//! | [`replies`] | the payloads of replies |
//! | [`error`] | error codes and the error reply |
//! | [`status`] | the status of a connector |
//! | [`rollout`] | the progress of what was applied |
//! | [`SubscriptionId`], [`Lifetime`], [`WorkloadRef`], [`rfc3339`] | parts of messages |
//!
//! States in messages are those of the crate `ankaios-model`. This crate does no I/O and knows
//! neither MQTT packets nor the control interface. Each message can be written and read, so
//! that both sides use the same types.

#![forbid(unsafe_code)]

pub mod error;
pub mod fields;
mod id;
mod lifetime;
pub mod operation;
pub mod replies;
pub mod requests;
pub mod rfc3339;
pub mod rollout;
pub mod status;
pub mod topics;
mod workload_ref;

pub use id::{InvalidId, SubscriptionId};
pub use lifetime::Lifetime;
pub use workload_ref::WorkloadRef;
