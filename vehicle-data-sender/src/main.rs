//! Publishes a random speed over MQTT, as a vehicle would: an example workload for the fleet
//! connector.

#![forbid(unsafe_code)]

mod sender;
mod settings;

use std::process::ExitCode;

use anyhow::Context;
use service_kit::{log, process};
use settings::SenderSettings;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    // Before anything else: the first process of a container ignores SIGTERM until it is handled,
    // and any other process dies of it without an orderly end.
    let started = start_runtime();
    let settings = match SenderSettings::from_args(std::env::args_os()) {
        Ok(settings) => settings,
        Err(error) => return process::refuse("vehicle-data-sender", &error),
    };
    log::start(settings.log);
    match started {
        Ok((runtime, stop)) => {
            runtime.block_on(sender::run(settings, stop));
            // Does not wait for a DNS lookup, which can take long.
            runtime.shutdown_background();
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the runtime. Returns it with a token that signals cancel.
fn start_runtime() -> anyhow::Result<(Runtime, CancellationToken)> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let stop = process::stop_on_signals(&runtime).context("signals cannot be handled")?;
    Ok((runtime, stop))
}
