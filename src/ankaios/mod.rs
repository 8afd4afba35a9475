//! Ankaios' control interface: two FIFOs with length-delimited protobuf.
//!
//! ```text
//!  Client (cheap clone)  request ids, timeouts, typed calls
//!     │ pending          who waits for which answer
//!  link                  owns the FIFOs: handshake, order of writes, recovery
//!     ├ reader           reads `input`, and nothing else
//!     ├ pipe             opens FIFOs, writes a frame as a whole
//!     └ codec            bytes to messages
//! ```
//!
//! The folder of the FIFOs belongs to one workload; two processes that use the
//! same FIFOs would take each other's answers.

mod client;
mod codec;
mod link;
mod pending;
mod pipe;
mod reader;

pub use client::{Call, Client, RequestError};
pub use codec::{FrameDecoder, FrameError, MAX_INCOMING_FRAME, encode};
pub use link::{Link, LinkStatus, connect};
