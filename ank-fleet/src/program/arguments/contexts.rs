//! What the completions of a shell offer for `--context`.

use std::path::PathBuf;

use clap_complete::CompletionCandidate;

use super::super::config;
use super::typed::{at_home, joined, words};

/// The contexts of the configuration file.
pub(super) fn contexts() -> Vec<CompletionCandidate> {
    let file = config::flag(&joined(&words()), "--config").map(at_home).map(PathBuf::from);
    let names = config::contexts(file).unwrap_or_default();
    names.into_iter().map(CompletionCandidate::new).collect()
}
