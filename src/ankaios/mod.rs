//! Ankaios' control interface: two FIFOs with length-delimited protobuf.
//!
//! ```text
//!  workload_states       what events tell of the workloads
//!  events, logs          subscriptions, listeners, log streams
//!  event_streams         which subscriptions there are, and how they fare
//!  metrics               what is counted
//!  Client (cheap clone)  request ids, timeouts, typed calls
//!     │ pending          who waits for which answer
//!     │ held             a bound for answers that are being worked on
//!     │ buffer           between the reader and a consumer that may be slow
//!  link                  owns the FIFOs: opens them
//!     ├ session          handshake, order of writes, recovery
//!     ├ greeting         what opens a session
//!     ├ status           what is known of the link
//!     ├ reader           reads `input`, and nothing else
//!     ├ pipe             opens FIFOs, writes a frame as a whole
//!     │  └ watch         tells what others do to a FIFO
//!     └ codec            bytes to messages
//! ```
//!
//! The folder of the FIFOs belongs to one workload; two processes that use the
//! same FIFOs would take each other's answers.

mod buffer;
mod client;
mod codec;
mod event_streams;
pub mod events;
mod greeting;
mod held;
mod link;
mod listener;
pub mod logs;
mod metrics;
mod pending;
mod pipe;
mod reader;
mod status;
mod watch;
pub(crate) mod workload_states;

pub use client::{Call, Client, RequestError};
pub use codec::{Frame, FrameDecoder, FrameError, MAX_INCOMING_FRAME, encode};
pub use held::Held;
pub use link::{Link, connect};
pub use metrics::Metrics;
pub use status::LinkStatus;
pub use workload_states::{Changes, WorkloadStates};
