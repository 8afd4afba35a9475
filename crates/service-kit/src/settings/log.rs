//! The settings of the log.

use clap::Args;
use tracing::level_filters::LevelFilter;

use super::check::Check;

/// The settings of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// The least severe level that is logged.
    pub level: LevelFilter,
    /// Whether entries are JSON objects, one per line, instead of text.
    pub json: bool,
}

/// The settings of the log, as arguments that are not checked.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Log level: error, warn, info, debug or trace
    #[arg(long, env, value_name = "LEVEL", default_value = "info", hide_env_values = true)]
    log_level: String,
    /// Log format: text or json
    #[arg(long, env, value_name = "FORMAT", default_value = "text", hide_env_values = true)]
    log_format: String,
}

impl LogArgs {
    /// Checks the settings. Returns `None` if there is a mistake.
    pub fn check(&self, check: &mut Check) -> Option<LogSettings> {
        let level = match self.log_level.to_ascii_lowercase().as_str() {
            "error" => Some(LevelFilter::ERROR),
            "warn" => Some(LevelFilter::WARN),
            "info" => Some(LevelFilter::INFO),
            "debug" => Some(LevelFilter::DEBUG),
            "trace" => Some(LevelFilter::TRACE),
            other => {
                let levels = "error, warn, info, debug or trace";
                check.mistake(
                    "LOG_LEVEL",
                    format!("{other:?} is not a valid log level; use {levels}"),
                );
                None
            }
        };
        let json = match self.log_format.to_ascii_lowercase().as_str() {
            "text" => Some(false),
            "json" => Some(true),
            other => {
                check.mistake(
                    "LOG_FORMAT",
                    format!("{other:?} is not a valid log format; use text or json"),
                );
                None
            }
        };
        Some(LogSettings { level: level?, json: json? })
    }
}
