//! From an error to a sentence: what it means here, and what to do.

mod alert;
mod certificate;
mod context;
mod error;
mod issuer;
mod peer;
mod remedy;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
mod webpki;

pub(crate) use context::Target;
pub(crate) use error::{closed_early, explain};
