//! The control interface of [Eclipse Ankaios](https://eclipse-ankaios.github.io/ankaios/) for
//! workloads in Rust: reads and changes the state, and follows events and logs. It recovers by
//! itself from restarts of the agent, the server and the workload.
//!
//! [`connect`] creates a [`Client`] and the [`Link`] that serves it; spawn [`Link::run`]. Then:
//!
//! | call | what it does |
//! |---|---|
//! | [`Client::state`], [`Client::update`] | reads and changes the state |
//! | [`Client::subscribe`], [`Client::events`] | streams of changes of the state ([`EventStream`]) |
//! | [`Listeners`] | calls callbacks for each change |
//! | [`WorkloadStates`] | keeps the states of all workload instances up to date by events |
//! | [`Client::logs`] | a stream of the logs of workload instances ([`LogStream`]) |
//! | [`Link::status`], [`Link::metrics`], [`Client::event_streams`] | for health checks and metrics |
//!
//! The README has an example, the access rights that a workload needs, and what happens when
//! Ankaios restarts. The messages of Ankaios are types of the crate [`ankaios_model`]. This crate
//! has no HTTP, no MQTT and no templates.
//!
//! # Inside
//!
//! Ankaios mounts two FIFOs into the workload: it reads from `output` and writes to `input`.
//! Both carry protobuf messages, each behind its length.
//!
//! ```text
//!  Client ─ codec ► pending ─► link::session ─► pipe ──► output ──► Ankaios
//!  Call ◄──────── pending ◄── reader ◄── codec ◄──────── input ◄────────┘
//!                    │
//!                    └──► buffer ──► EventStream, LogStream
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `client` | typed calls; each gets a request id and a timeout |
//! | `pending` | the requests without an answer, in the order in which they are written |
//! | `answer_memory`, `buffer` | the memory limits of answers, and of events and logs |
//! | `events`, `logs` | event streams and log streams |
//! | `listener`, `workload_states` | callbacks for events; states kept up to date by events |
//! | `event_streams`, `stream_health` | the list of event streams, and the health of each |
//! | `link`, `link::session` | opens the FIFOs; handshake, order of writes, recovery |
//! | `handshake` | what opens a session: a Hello and a probe |
//! | `reader` | the task that reads `input`; it never waits for a consumer |
//! | `pipe`, `full_pipe`, `fifo_watch` | opens the FIFOs and writes frames; notifications of changes |
//! | [`codec`] | from bytes to messages and back |
//! | `error`, `status`, `response`, `metrics` | errors, link states, responses, metrics |

#![forbid(unsafe_code)]

mod answer_memory;
mod buffer;
mod client;
pub mod codec;
mod error;
mod event_streams;
mod events;
mod fifo_watch;
mod full_pipe;
mod handshake;
mod link;
mod listener;
mod logs;
mod metrics;
mod pending;
mod pipe;
mod reader;
mod response;
mod status;
mod stream_health;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod test_fifo;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod workload_states;

pub use ankaios_model;
pub use answer_memory::AnswerPermit;
pub use client::{Call, Client};
pub use error::RequestError;
pub use event_streams::EventStreams;
pub use events::{Event, EventStream, SubscribeCall};
pub use link::{Link, connect};
pub use listener::{Change, EventListener, Failure, ListenerError, ListenerTask, Listeners};
pub use logs::{LogItem, LogStream, LogsOptions};
pub use metrics::LinkMetrics;
pub use service_kit::clock::Moment;
pub use service_kit::heartbeat::Monitor;
pub use status::{LinkState, LinkStatus};
pub use stream_health::{StreamHealth, StreamHealthHandle};
pub use workload_states::{InstanceChanges, WorkloadStates};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
