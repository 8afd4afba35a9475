//! The log: to standard error, as text for people or JSON for machines.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::fmt;

use crate::settings::Log;

/// Begins to log. Does nothing if the process logs already.
pub fn start(log: Log) {
    let builder = fmt().with_max_level(log.level).with_writer(stderr).with_target(false);
    // Fails only if there is a log already, as in tests.
    let _ = if log.json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        tracing::subscriber::set_global_default(builder.with_ansi(stderr().is_terminal()).finish())
    };
}
