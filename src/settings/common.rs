//! Settings that several commands have.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tracing::level_filters::LevelFilter;

use super::Check;

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is logged.
    pub level: LevelFilter,
    /// One JSON object per line, for machines.
    pub json: bool,
}

/// The settings of the log as they are written.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// error, warn, info, debug or trace
    #[arg(long, env, value_name = "LEVEL", default_value = "info", hide_env_values = true)]
    log_level: String,
    /// text or json
    #[arg(long, env, value_name = "FORMAT", default_value = "text", hide_env_values = true)]
    log_format: String,
}

impl LogArgs {
    /// Checks them; `None` after a mistake.
    pub fn check(&self, check: &mut Check) -> Option<Log> {
        let level = match self.log_level.to_ascii_lowercase().as_str() {
            "error" => Some(LevelFilter::ERROR),
            "warn" => Some(LevelFilter::WARN),
            "info" => Some(LevelFilter::INFO),
            "debug" => Some(LevelFilter::DEBUG),
            "trace" => Some(LevelFilter::TRACE),
            other => {
                let levels = "error, warn, info, debug or trace";
                check.mistake("LOG_LEVEL", format!("{other:?} is no level; use {levels}"));
                None
            }
        };
        let json = match self.log_format.to_ascii_lowercase().as_str() {
            "text" => Some(false),
            "json" => Some(true),
            other => {
                check.mistake("LOG_FORMAT", format!("{other:?} is no format; use text or json"));
                None
            }
        };
        Some(Log { level: level?, json: json? })
    }
}

/// The settings of the link to Ankaios as they are written.
#[derive(Debug, Args)]
pub(super) struct AnkaiosArgs {
    /// Folder with the FIFOs of Ankaios' control interface
    #[arg(
        long,
        env,
        value_name = "DIR",
        default_value = "/run/ankaios/control_interface",
        hide_env_values = true
    )]
    pub(super) control_interface_dir: PathBuf,
    /// How long to wait for one answer of Ankaios
    #[arg(long, env, value_name = "DURATION", default_value = "5s", hide_env_values = true)]
    request_timeout: String,
}

impl AnkaiosArgs {
    /// Checks the timeout; `None` after a mistake.
    pub(super) fn request_timeout(&self, check: &mut Check) -> Option<Duration> {
        check.duration_within(
            "REQUEST_TIMEOUT",
            &self.request_timeout,
            Duration::from_millis(10)..=Duration::from_secs(600),
        )
    }
}
