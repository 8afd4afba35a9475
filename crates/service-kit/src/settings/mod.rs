//! Settings. Each is an environment variable and a command-line flag of the same name.

mod check;
mod log;

pub use check::{Check, Mistakes};
pub use log::{LogArgs, LogSettings};

/// Why the program has no settings to run with.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The command line asks for help or the version, or is invalid.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// Settings are invalid.
    #[error("{0}")]
    Invalid(Mistakes),
}
