//! Messages, manifests and states against the samples in `tests/golden`, against what `ank` has
//! printed, and by properties.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod ankaios_format;
mod golden;
mod properties;
