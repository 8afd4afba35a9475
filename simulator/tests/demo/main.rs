//! The demo: its broker, and the program as users start it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod broker;
mod program;
