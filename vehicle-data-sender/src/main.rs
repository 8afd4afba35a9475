//! Publishes a random speed over MQTT, as a vehicle would: an example workload for the fleet
//! connector.

#![forbid(unsafe_code)]

mod sender;
mod settings;

use std::process::ExitCode;

use anyhow::Context;
use service_kit::{log, process};
use settings::SenderSettings;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let settings = match SenderSettings::from_args(std::env::args_os()) {
        Ok(settings) => settings,
        Err(error) => return process::refuse("vehicle-data-sender", &error),
    };
    log::start(settings.log);
    let runtime = Builder::new_current_thread().enable_all().build();
    let outcome = runtime.context("the runtime cannot be started").and_then(|runtime| {
        let outcome = runtime.block_on(async {
            let stop = process::stop_on_signals().context("signals cannot be handled")?;
            sender::run(settings, stop).await;
            Ok(())
        });
        // Does not wait for a DNS lookup, which can take long.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
