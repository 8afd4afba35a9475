//! Publishes a random speed over MQTT, as a vehicle would: a workload to try the
//! fleet connector with.

#![forbid(unsafe_code)]

mod sender;
mod settings;

use std::process::ExitCode;

use anyhow::Context;
use fleet_connector::{logging, process};
use tokio::runtime::Builder;

use settings::Settings;

fn main() -> ExitCode {
    let settings = match Settings::from_args(std::env::args_os()) {
        Ok(settings) => settings,
        Err(error) => return process::refuse("vehicle-data-sender", &error),
    };
    logging::start(settings.log);
    let runtime = Builder::new_current_thread().enable_all().build();
    let outcome = runtime.context("the runtime cannot be started").and_then(|runtime| {
        let outcome = runtime.block_on(async {
            let stop = process::stop_on_signals().context("signals cannot be handled")?;
            sender::run(settings, stop).await;
            Ok(())
        });
        // Looking up the name of a broker may take longer than anybody wants to wait.
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
