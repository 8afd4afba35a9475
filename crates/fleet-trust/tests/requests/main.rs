//! Signed requests and trust files, through the public functions of the crate.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
mod rotation;
mod rules;
mod signatures;
mod ssh_keygen;
