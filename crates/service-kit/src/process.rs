//! Exit codes, standard streams and signals.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::SettingsError;

/// `EX_USAGE` of sysexits.h: the command was used incorrectly.
const USAGE: u8 = 64;

/// Reports settings that `program` cannot use. Help and version are no failure.
#[must_use]
pub fn refuse(program: &str, error: &SettingsError) -> ExitCode {
    match error {
        SettingsError::CommandLine(error) => {
            // A closed standard output does not change the exit code.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
        SettingsError::Invalid(mistakes) => {
            eprint(program, &format_args!("{mistakes}\n\nTry {program} --help."));
            ExitCode::from(USAGE)
        }
    }
}

/// Writes an error to standard error, for programs without a log.
pub fn eprint(program: &str, what: &dyn fmt::Display) {
    // If nobody can read it, the exit code is left.
    let _ = writeln!(io::stderr(), "{program}: {what}");
}

/// Writes a line to standard output.
pub fn print(line: &str) {
    // As above.
    let _ = writeln!(io::stdout(), "{line}");
}

/// A token that SIGTERM and SIGINT cancel.
///
/// # Errors
/// The signals cannot be handled.
pub fn stop_on_signals() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signals = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
        signals.cancel();
    });
    Ok(stop)
}
