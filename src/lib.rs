//! The daemon: connects a vehicle that runs Eclipse Ankaios to its operators over MQTT.
//!
//! ```text
//!  operators ── MQTT broker
//!                   │ PUBLISH              ▲
//!       crate mqtt-session: the session, which knows no application
//!                   │ Message<Incoming>    ▲ replies, stream messages, status
//!                   │                      ▲    broker::Vehicle in its task: what a topic means,
//!                   │                      │    the status of the connector
//!         router      from message to operation, from outcome to reply
//!         operations  ask trust and guard what a request may do; hand changes to revisions
//!         streams     subscriptions, logs, rollouts
//!                   │ typed call           ▲ answers, events, log lines
//!       crate ankaios-control: client and link
//!                   ▼ output               │ input
//!                 Ankaios agent
//! ```
//!
//! Data flows down one side and up the other. `router` uses `broker`, `operations` and `streams`;
//! `operations` use `guard`, `trust`, `revisions` and `streams`; `revisions` use `guard`, `trust` and
//! `streams`; none of these uses one above it. `docs/architecture.md` lists which module uses which.
//!
//! `revisions` keep what operators have changed, and put it back after a restart of Ankaios. `trust`
//! keeps the trust file in force and the serials of signed requests.
//! [`connector`] connects the parts and runs them, `replica` decides which of several connectors of a
//! vehicle is active, and [`health`] reads what `connector` gives it. [`dashboard`] is another user of
//! `ankaios-control`, without MQTT. `errors` converts errors to error replies. Topics, messages and
//! error codes are in the crate `fleet-contract`; manifests and states in `ankaios-model`.
//!
//! Programs use [`settings::Settings`] and [`connector::run`]. The modules that only the connector
//! uses are private; `cargo doc --document-private-items` shows them.

#![forbid(unsafe_code)]

mod broker;
pub mod connector;
pub mod dashboard;
mod errors;
mod guard;
pub mod health;
mod operations;
mod replica;
mod revisions;
mod router;
pub mod settings;
mod streams;
mod trust;
