//! Tests of messages, manifests and states: with the samples in `tests/golden`, with output of
//! `ank`, and with generated states.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod ankaios_format;
mod generated;
mod golden;
mod properties;
