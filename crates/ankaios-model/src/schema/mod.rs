//! Ankaios' own format of its state: what a manifest and `ank set state`
//! contain, with the checks that Ankaios' schema makes.
//!
//! One module per kind of field, in each plain serde structs that turn into the
//! protobuf messages with `From`. They are read straight from the text and never
//! by way of a generic value, so that an unquoted `1.10` in a field of text stays
//! `1.10`. Fields of a workload that are not known are ignored, as Ankaios does;
//! whoever wants to refuse them reads through `serde_ignored`.

mod access;
mod config;
mod map;
mod name;
mod observed;
mod spelling;
mod state;
mod text;
mod workload;

pub(crate) use map::Named;
pub use name::{has_empty_part, is_identifier, is_name};
pub(crate) use observed::CompleteState;
pub(crate) use spelling::spelling;
pub(crate) use state::{ApiVersion, Configs};
pub use text::{FromText, deserialize as deserialize_text};
pub(crate) use workload::Complete;
