//! The program: settings, log, signals and exit codes. The rest is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context;
use fleet_connector::settings::{Command, DashboardSettings, HealthSettings, Settings};
use fleet_connector::{connector, dashboard, health};
// Linked for its functions, which take the place of musl's.
use musl_mem as _;
use service_kit::{log, process};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    // Before anything else: the first process of a container ignores SIGTERM until it is handled,
    // and any other process dies of it without an orderly end.
    let started = start_runtime();
    let command = match Command::read() {
        Ok(command) => command,
        Err(error) => return process::refuse("fleet-connector", &error),
    };
    match &command {
        Command::Connect(settings) => log::start(settings.log),
        Command::Dashboard(settings) => log::start(settings.log),
        // It prints the response and writes no log.
        Command::Health(_) => {}
    }
    let outcome = started.and_then(|(runtime, stop)| {
        let outcome = runtime.block_on(async {
            match command {
                Command::Connect(settings) => connect(*settings, stop).await.map(|()| true),
                Command::Dashboard(settings) => show_dashboard(settings, stop).await.map(|()| true),
                Command::Health(settings) => tokio::select! {
                    is_healthy = print_health(settings) => Ok(is_healthy),
                    () = stop.cancelled() => Ok(false),
                },
            }
        });
        // A terminal that no longer accepts output must not delay the exit.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the runtime. Returns it with a token that signals cancel.
fn start_runtime() -> anyhow::Result<(Runtime, CancellationToken)> {
    // One thread is enough: all tasks wait for FIFOs and a socket. A second thread runs slow
    // work, one job at a time, so that replies keep their order.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .context("the runtime cannot be started")?;
    let stop = process::stop_on_signals(&runtime).context("signals cannot be handled")?;
    Ok((runtime, stop))
}

async fn connect(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        topics = %settings.topics,
        control_interface = %settings.control_interface_dir.display(),
        broker = %settings.mqtt.brokers,
        proxy = %settings.mqtt.brokers.proxies(),
        "fleet connector"
    );
    match connector::run(settings, stop).await {
        // Nothing is lost: the broker keeps the requests.
        Err(timeout @ connector::Error::DrainTimeout) => {
            tracing::warn!("{timeout}");
            Ok(())
        }
        ended => Ok(ended?),
    }
}

/// Prints the health of a connector. Returns whether it is healthy.
async fn print_health(settings: HealthSettings) -> bool {
    match health::probe(&settings.address, settings.endpoint).await {
        Ok(answer) => {
            process::print(&answer.text);
            answer.healthy
        }
        Err(error) => {
            process::eprint("fleet-connector health", &error);
            false
        }
    }
}

async fn show_dashboard(
    settings: DashboardSettings,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    dashboard::run(settings, stop).await.context("the dashboard cannot be printed")
}
