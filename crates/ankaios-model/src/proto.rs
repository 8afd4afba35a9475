//! The messages of Ankaios' control interface. The code is generated from the schema in `proto/`, and kept
//! beside it: the protobuf compiler takes longer to build than this crate, and users do not need it. The
//! test `generated` writes it anew when the schema has changed.

#![allow(missing_docs, clippy::large_enum_variant, reason = "generated from proto/")]

/// Requests, responses and the state of Ankaios.
#[rustfmt::skip]
pub mod ank_base;

/// The envelope of requests and responses, and the messages that open and close a session.
#[rustfmt::skip]
pub mod control_api;
