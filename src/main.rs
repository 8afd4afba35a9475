//! The daemon: settings, log, signals. The rest is [`fleet_connector::connector`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context;
use fleet_connector::settings::{Settings, SettingsError};
use fleet_connector::{connector, logging};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// `EX_USAGE` of sysexits.h: the command was used in a wrong way.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let settings = match Settings::read() {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    logging::start(settings.log);
    // One thread is enough: everything waits for FIFOs and a socket. One more does
    // what takes long, one thing at a time, so that replies keep their order.
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let outcome = runtime
        .context("the runtime cannot be started")
        .and_then(|runtime| runtime.block_on(run(settings)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reports settings that cannot be used; help and version are no failure.
fn refuse(error: &SettingsError) -> ExitCode {
    match error {
        SettingsError::CommandLine(error) => {
            // A closed standard output is no reason to fail in another way.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
        SettingsError::Invalid(mistakes) => {
            eprint(mistakes);
            ExitCode::from(USAGE)
        }
    }
}

#[allow(clippy::print_stderr, reason = "there is no log yet")]
fn eprint(mistakes: &dyn std::fmt::Display) {
    eprintln!("fleet-connector: {mistakes}\n\nTry fleet-connector --help.");
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        topics = %settings.topics,
        control_interface = %settings.control_interface_dir.display(),
        "fleet connector"
    );
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let signals = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
        signals.cancel();
    });
    if let Err(timeout) = connector::run(settings, stop).await {
        tracing::warn!("{timeout}");
    }
    Ok(())
}
