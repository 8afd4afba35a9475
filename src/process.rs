//! What the programs have in common as processes: exit codes and signals.

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::SettingsError;

/// `EX_USAGE` of sysexits.h: the command was used in a wrong way.
const USAGE: u8 = 64;

/// Reports settings that `program` cannot use; help and version are no failure.
#[must_use]
pub fn refuse(program: &str, error: &SettingsError) -> ExitCode {
    match error {
        SettingsError::CommandLine(error) => {
            // A closed standard output is no reason to fail in another way.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
        SettingsError::Invalid(mistakes) => {
            eprint(program, mistakes);
            ExitCode::from(USAGE)
        }
    }
}

#[allow(clippy::print_stderr, reason = "there is no log yet")]
fn eprint(program: &str, mistakes: &dyn std::fmt::Display) {
    eprintln!("{program}: {mistakes}\n\nTry {program} --help.");
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
