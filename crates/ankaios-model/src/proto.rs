//! The messages of Ankaios' control interface. prost-build generates their code from the `.proto` files of
//! this package. The code is in the repository, so that users do not have to build prost-build and protox.
//! The test `generated` compares it with the `.proto` files.

#![allow(missing_docs, clippy::large_enum_variant, reason = "generated")]

/// Requests, responses and the state of Ankaios.
#[rustfmt::skip]
pub mod ank_base;

/// The envelope of requests and responses, and the messages that open and close a session.
#[rustfmt::skip]
pub mod control_api;
