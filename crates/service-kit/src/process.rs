//! Exit codes, standard streams and signals.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::SettingsError;

/// `EX_USAGE` of sysexits.h: the command was used incorrectly.
const USAGE: u8 = 64;

/// Reports an error of the settings, and returns the exit code of the program. A request for help
/// or the version is a success.
#[must_use]
pub fn refuse(program: &str, error: &SettingsError) -> ExitCode {
    match error {
        SettingsError::CommandLine(error) => {
            // The exit code is the same if the output is closed.
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
    // If standard error is closed, there is still the exit code.
    let _ = writeln!(io::stderr(), "{program}: {what}");
}

/// Writes a line to standard output.
pub fn print(line: &str) {
    // If standard output is closed, there is still the exit code.
    let _ = writeln!(io::stdout(), "{line}");
}

/// Returns a token that a task of this runtime cancels at SIGTERM or SIGINT. Call it before all other
/// work of the program.
///
/// # Errors
/// A signal handler cannot be installed.
pub fn stop_on_signals(runtime: &Runtime) -> io::Result<CancellationToken> {
    let _entered = runtime.enter();
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
