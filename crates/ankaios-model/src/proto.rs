//! The messages of Ankaios' control interface, generated from `proto/`.

#![allow(missing_docs, clippy::large_enum_variant, reason = "generated from proto/")]

/// Requests, responses and the state of Ankaios.
pub mod ank_base {
    include!(concat!(env!("OUT_DIR"), "/ank_base.rs"));
}

/// The envelope of requests and responses, and the messages that open and close a session.
pub mod control_api {
    include!(concat!(env!("OUT_DIR"), "/control_api.rs"));
}
