//! Runs thousands of connectors with simulated vehicles on one machine, and measures how they, the
//! broker and `ank-fleet` behave.
//!
//! ```text
//!  main
//!   ├ figures      measures: starts brokers, fleets and commands
//!   │  └ charts    draws what was measured
//!   ├ fleet        the vehicles, over several processes
//!   │  └ limits    what the machine allows
//!   └ worker       one of these processes
//!      ├ vehicle   a simulated Ankaios with its connector
//!      └ arrivals  finds out from the log when a connector is ready
//! ```
//!
//! Each vehicle is a real connector, the library that the daemon consists of, with a simulated
//! Ankaios of its own behind two FIFOs.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

mod arrivals;
mod broker;
mod charts;
mod figures;
mod fleet;
mod limits;
mod process;
mod vehicle;
mod worker;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use broker::Mosquitto;
use fleet::Fleet;

/// Run thousands of connectors with simulated vehicles, and measure them.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run vehicles L00001, L00002 and so on until Ctrl-C
    ///
    /// The connection to the broker is set as for the connector: MQTT_BROKER_ADDR and so on. Without
    /// MQTT_BROKER_ADDR, a Mosquitto is started.
    Run {
        /// How many
        #[arg(long, default_value_t = 1000)]
        vehicles: usize,
        /// Start so many at a time, for a broker that makes sessions slowly; by default all
        #[arg(long)]
        at_once: Option<NonZeroUsize>,
    },
    /// Run some of the vehicles in this process; for the other commands
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        first: usize,
        #[arg(long)]
        count: usize,
        #[arg(long)]
        at_once: Option<usize>,
        #[arg(long)]
        folder: PathBuf,
    },
    /// Measure, and write the figures into a file
    Figures {
        /// Sizes of the fleet
        #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 10_000])]
        sizes: Vec<usize>,
        /// Only these parts
        #[arg(long, value_delimiter = ',')]
        only: Vec<figures::Part>,
        /// Where the figures are written; those of other parts and sizes stay there
        #[arg(long, default_value = "target/fleet/figures.json")]
        output: PathBuf,
    },
    /// Draw the figures
    Charts {
        /// The figures
        #[arg(long, default_value = "target/fleet/figures.json")]
        input: PathBuf,
        /// The folder for the pictures
        #[arg(long, default_value = "docs/scale")]
        output: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match Arguments::parse().command {
            Command::Run { vehicles, at_once } => run(vehicles, at_once.map(Into::into)).await,
            Command::Worker { first, count, at_once, folder } => {
                worker::run(first, count, at_once, &folder).await
            }
            Command::Figures { sizes, only, output } => {
                figures::measure(&sizes, &only, &output).await
            }
            Command::Charts { input, output } => charts::draw(&input, &output),
        }
    })
}

/// Runs vehicles until Ctrl-C or SIGTERM.
async fn run(vehicles: usize, at_once: Option<usize>) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let broker = match std::env::var_os("MQTT_BROKER_ADDR") {
        Some(_) => None,
        None => Some(Mosquitto::start().await?),
    };
    let settings = broker.as_ref().map(Mosquitto::settings).unwrap_or_default();
    let (fleet, notes) = Fleet::start(vehicles, &settings, at_once).await?;
    for note in notes {
        eprintln!("{note}");
    }
    println!("{}", fleet.describe());
    let work = async {
        fleet.all_ready().await?;
        println!("{}", fleet.report());
        println!("\nTry this:\n");
        let set = settings.iter().map(|(name, value)| format!("{name}={value} "));
        println!("  export {}FLEET={}", set.collect::<String>(), vehicle::FLEET);
        println!("  ank-fleet get vehicles -l region=eu | tail -n 3");
        println!("  ank-fleet apply manifests/nginx.yaml --all --parallel 500\n");
        println!("Ctrl-C stops everything.");
        fleet.ended().await
    };
    tokio::select! {
        ended = work => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}
