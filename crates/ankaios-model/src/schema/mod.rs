//! The state in Ankaios' own format, as in a manifest and for `ank set state`, with the checks
//! of Ankaios' schema.
//!
//! One module per kind of field. Each contains serde structs, which `From` converts to the
//! protobuf messages of the same name. They are deserialized directly from the text, without a
//! generic value in between: an unquoted `1.10` in a text field stays `1.10`. Unknown fields of
//! a workload are ignored, as in Ankaios; a caller that refuses them wraps the deserializer in
//! `serde_ignored`.

mod access;
mod config;
mod map;
mod name;
mod observed;
mod spelling;
mod state;
mod text;
mod workload;

pub(crate) use map::NameMap;
pub use name::{field_mask_has_empty_part, is_identifier, is_name};
pub(crate) use observed::CompleteState;
pub(crate) use spelling::spelling;
pub(crate) use state::{ApiVersion, Configs};
pub use text::{FromText, deserialize as deserialize_text};
pub(crate) use workload::CompleteWorkload;
