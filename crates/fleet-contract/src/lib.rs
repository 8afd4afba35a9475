//! The MQTT contract between a fleet connector and its operators: topics, operations, messages and
//! error codes.
//!
//! ```text
//!  operator                                                   connector
//!     │  vehicle/<VIN>/<operation>/req          request         │
//!     │ ──────────────────────────────────────────────────────► │
//!     │  vehicle/<VIN>/<operation>/resp         reply or error  │
//!     │  vehicle/<VIN>/events/<id>, logs/<id>   events, logs    │
//!     │  vehicle/<VIN>/manifest/apply/status    rollouts        │
//!     │  vehicle/<VIN>/connector/status         status          │
//!     │ ◄────────────────────────────────────────────────────── │
//! ```
//!
//! A received message is handled in two steps: [`Topics::kind`](topics::Topics::kind) parses its
//! topic; the type in [`requests`] for its operation parses and checks its payload. (Manifests are
//! parsed by `ankaios-model`.) A sent message is a type of this crate, serialized as JSON, for a topic
//! of [`Topics`](topics::Topics).
//!
//! | module | what it contains |
//! |---|---|
//! | [`topics`] | creates and parses the topics of a vehicle |
//! | [`operation`] | the operations and their names |
//! | [`requests`] | the payloads of requests, with their checks |
//! | [`replies`] | the payloads of replies |
//! | [`error`] | error codes and the error reply |
//! | [`status`] | the status of a connector |
//! | [`rollout`] | the progress of a rollout |
//! | [`fleet`] | fleets, whose connectors are asked for their status by one message |
//! | [`revision`] | revisions: when a change is taken back, statuses, and the history |
//! | [`SubscriptionId`], [`Labels`], [`Lifetime`], [`WorkloadRef`], [`rfc3339`] | parts of messages |
//! | [`fields`] | deserializes JSON with errors that name the field |
//!
//! `docs/asyncapi.yaml` describes the same for programs in other languages; the tests of the connector
//! check each message with it.
//!
//! Messages can be both serialized and deserialized, so connector and operators use the same
//! types. States and events are written by the crate `ankaios-model`. This crate does no I/O, and
//! knows neither MQTT packets nor the control interface of Ankaios.

#![forbid(unsafe_code)]

pub mod error;
pub mod fields;
pub mod fleet;
mod id;
mod labels;
mod lifetime;
pub mod operation;
pub mod replies;
pub mod requests;
pub mod revision;
pub mod rfc3339;
pub mod rollout;
pub mod status;
pub mod topics;
mod workload_ref;

pub use id::{InvalidId, SubscriptionId};
pub use labels::{LabelError, Labels, check_label_key, check_label_value};
pub use lifetime::Lifetime;
pub use workload_ref::WorkloadRef;
