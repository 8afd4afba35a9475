//! Settings: each is an environment variable and a flag of the same name.

mod check;
mod log;

pub use check::{Check, Mistakes};
pub use log::{LogArgs, LogSettings};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Help or the version was asked for, or a flag is unknown.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// All mistakes at once.
    #[error("{0}")]
    Invalid(Mistakes),
}
