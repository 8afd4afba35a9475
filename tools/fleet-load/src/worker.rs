//! One process with many vehicles.

use std::path::Path;

use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt};

use crate::arrivals::ArrivalLayer;
use crate::limits;
use crate::vehicle::Vehicle;

/// Runs `count` vehicles from the one with the number `first`, until standard input ends: with the
/// process that has started this one. At most `at_once` are starting at a time. Writes an
/// [`Arrival`](crate::arrivals::Arrival) for each connector that is ready, and the errors of the
/// connectors on standard error.
pub(crate) async fn run(
    first: usize,
    count: usize,
    at_once: Option<usize>,
    folder: &Path,
) -> anyhow::Result<()> {
    limits::raise_open_files();
    let layer = ArrivalLayer::default();
    let mut arrived = layer.arrived();
    let log = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let subscriber =
        tracing_subscriber::registry().with(layer).with(log.with_filter(LevelFilter::ERROR));
    tracing::subscriber::set_global_default(subscriber)?;
    let mut stops = Vec::new();
    let mut running = JoinSet::new();
    for started in 0..count {
        if let Some(at_once) = at_once {
            tokio::select! {
                room = arrived.wait_for(|arrived| started < arrived.len() + at_once) => {
                    room?;
                }
                Some(ended) = running.join_next() => return stopped(ended),
            }
        }
        let number = first + started;
        let mut vehicle = Vehicle::start(number, folder).await?;
        stops.push(vehicle.stop_handle());
        running.spawn(async move { vehicle.ended().await });
    }
    let (mut input, mut rest) = (tokio::io::stdin(), Vec::new());
    tokio::select! {
        _ = input.read_to_end(&mut rest) => {}
        Some(ended) = running.join_next() => return stopped(ended),
    }
    stops.iter().for_each(|stop| stop.cancel());
    while running.join_next().await.is_some() {}
    Ok(())
}

/// A connector has ended, which none does by itself.
fn stopped(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Result<()> {
    ended??;
    anyhow::bail!("a connector has ended");
}
