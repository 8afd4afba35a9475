//! How a fleet behaves on a cluster of three RabbitMQ nodes, one of which is killed.

use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::sleep;

use super::command::{CommandFigures, Operator};
use super::growth::{OnlineFigures, PER_SECOND, deploy, sent, start, try_deploy};
use crate::fleet::{Fleet, now};

/// The login of the cluster.
const LOGIN: &str = "fleet";

/// How many vehicles are starting at a time. Three nodes on two cores make a replicated queue for some
/// 35 new sessions in a second. Vehicles that have to wait for longer than ten seconds give up and come
/// again, which keeps the nodes busy, and uses up their open files.
const AT_ONCE: usize = 100;

/// How often is looked how far a roll-out is.
const POLL: Duration = Duration::from_millis(50);

/// The figures of one size.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClusterFigures {
    /// Each session is a new queue, replicated if its kind is so.
    pub(crate) cold_start: OnlineFigures,
    pub(crate) get_vehicles: CommandFigures,
    /// With `--parallel 50`.
    pub(crate) rollout: CommandFigures,
    /// The vehicles that were connected to the node that was killed.
    pub(crate) lost: usize,
    /// Until they were ready again, on other nodes.
    pub(crate) node_death: OnlineFigures,
    /// The roll-out during which it was killed, when a quarter of the requests was sent.
    pub(crate) rollout_with_death: CommandFigures,
    /// In how many vehicles that has succeeded. Those that are not back when their turn comes are left.
    #[serde(default)]
    pub(crate) succeeded_with_death: usize,
}

/// Measures a fleet on the cluster in whose environment this process was started.
pub(crate) async fn measure(vehicles: usize) -> anyhow::Result<ClusterFigures> {
    let port = std::env::var("CLUSTER_PORT").ok().and_then(|port| port.parse::<u16>().ok());
    let port = port.context("start it by scripts/cluster.sh run")?;
    let password = tempfile::NamedTempFile::new()?;
    std::fs::write(&password, LOGIN)?;
    let addresses: Vec<String> = (1..=3).map(|node| format!("127.0.0.1:{}", port + node)).collect();
    let settings = vec![
        ("MQTT_BROKER_ADDR", addresses.join(",")),
        ("MQTT_USERNAME", LOGIN.to_owned()),
        ("MQTT_PASSWORD_FILE", password.path().display().to_string()),
    ];
    let spread = vehicles.div_ceil(PER_SECOND).max(1) as u64;
    let (fleet, cold_start) = start(vehicles, settings.clone(), spread, Some(AT_ONCE)).await?;
    let operator = Operator::new(settings)?;
    let (get_vehicles, shown) = operator.run(&["get", "vehicles", "-o", "name"]).await?;
    anyhow::ensure!(shown.lines().count() == vehicles, "not all are shown:\n{shown}");
    println!("  get vehicles {:.2} s", get_vehicles.seconds);
    let rollout = deploy(&operator, vehicles, 50, "1.0").await?;
    let is_under_way = || sent(&operator, "1.1") >= vehicles / 4;
    let ((rollout_with_death, succeeded_with_death), (lost, node_death)) = tokio::try_join!(
        try_deploy(&operator, 50, "1.1"),
        kill_a_node(&fleet, &addresses, is_under_way)
    )?;
    fleet.stop().await?;
    Ok(ClusterFigures {
        cold_start,
        get_vehicles,
        rollout,
        lost,
        node_death,
        rollout_with_death,
        succeeded_with_death,
    })
}

/// Kills the first node when a roll-out is under way, and waits until its vehicles are ready on others.
async fn kill_a_node(
    fleet: &Fleet,
    addresses: &[String],
    is_under_way: impl Fn() -> bool,
) -> anyhow::Result<(usize, OnlineFigures)> {
    while !is_under_way() {
        sleep(POLL).await;
    }
    let lost = fleet.connected_to(addresses.first().context("there are nodes")?);
    let killed = now();
    let status = Command::new("scripts/cluster.sh").args(["kill", "1"]).status().await?;
    anyhow::ensure!(status.success(), "the node is not killed");
    fleet.ready_again(&lost, killed).await?;
    let online = fleet.online(killed, Some(&lost));
    println!(
        "  node killed: {} vehicles back after {:.1} s, at most {} in one second",
        lost.len(),
        online.all.as_secs_f64(),
        online.peak
    );
    Ok((lost.len(), online.into()))
}
