//! The demo: an MQTT broker, a simulated vehicle and the connector in one process.

#![allow(clippy::print_stdout, reason = "prints instructions for the user")]

mod arguments;
mod connector;
mod demo;
mod fleet;
mod many;

use arguments::Arguments;
use clap::Parser;
use tokio::runtime::Builder;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // As in the connector: one thread for slow work keeps replies in order. Many connectors must not
    // wait for each other.
    let threads = arguments.vehicles.map_or(1, usize::from);
    let runtime =
        Builder::new_current_thread().enable_all().max_blocking_threads(threads).build()?;
    runtime.block_on(demo::run(arguments))
}
