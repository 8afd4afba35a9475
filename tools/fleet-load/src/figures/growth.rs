//! How a fleet of one size behaves with Mosquitto.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::command::{CommandFigures, Operator};
use crate::broker::Mosquitto;
use crate::fleet::{Fleet, Online};
use crate::process::Usage;
use crate::vehicle::vin;

/// How long a fleet at rest is watched.
const REST: Duration = Duration::from_secs(20);

/// `--parallel` of the roll-outs.
const PARALLEL: [usize; 2] = [50, 500];

/// How many vehicles come back in each second with the spread that the documents recommend.
pub(super) const PER_SECOND: usize = 500;

/// The figures of one size.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GrowthFigures {
    /// The processes with the connectors.
    pub(crate) processes: usize,
    /// Resident memory of one connector with its simulated Ankaios, many in a process.
    pub(crate) memory_each: f64,
    /// Processor time of one connector in one second at rest, with its simulated Ankaios.
    pub(crate) cpu_each: f64,
    pub(crate) broker_memory: u64,
    pub(crate) cold_start: OnlineFigures,
    /// After a restart of the broker, by `MQTT_RECONNECT_SPREAD` in seconds.
    pub(crate) broker_restart: BTreeMap<u64, OnlineFigures>,
    pub(crate) get_vehicles: CommandFigures,
    pub(crate) get_workloads: CommandFigures,
    /// By `--parallel`.
    pub(crate) rollouts: BTreeMap<usize, RolloutFigures>,
    pub(crate) exporter: ExporterFigures,
}

/// How the vehicles of a fleet have become ready.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct OnlineFigures {
    /// Until the last one.
    pub(crate) seconds: f64,
    /// Most in one second.
    pub(crate) peak: usize,
}

/// A roll-out to all.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct RolloutFigures {
    pub(crate) command: CommandFigures,
    /// Messages that the broker has received and sent, for each vehicle.
    pub(crate) messages: f64,
}

/// `ank-fleet exporter`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ExporterFigures {
    pub(crate) scrape_seconds: f64,
    pub(crate) scrape_size: usize,
    pub(crate) memory: u64,
}

impl From<Online> for OnlineFigures {
    fn from(online: Online) -> Self {
        Self { seconds: online.all.as_secs_f64(), peak: online.peak }
    }
}

/// Measures a fleet.
pub(crate) async fn measure(vehicles: usize) -> anyhow::Result<GrowthFigures> {
    let mut broker = Mosquitto::start().await?;
    let default_spread = 1;
    let (fleet, cold_start) = start(vehicles, broker.settings(), default_spread, None).await?;
    let before = fleet.usage();
    sleep(REST).await;
    let after = fleet.usage();
    let cpu_each = (after.cpu - before.cpu).as_secs_f64() / REST.as_secs_f64() / vehicles as f64;
    let operator = Operator::new(broker.settings())?;
    let (get_vehicles, shown) = operator.run(&["get", "vehicles", "-o", "name"]).await?;
    anyhow::ensure!(shown.lines().count() == vehicles, "not all are shown:\n{shown}");
    let (get_workloads, shown) = operator.run(&["get", "workloads", "-o", "jsonl"]).await?;
    anyhow::ensure!(shown.lines().count() == vehicles, "not all are shown");
    println!("  get vehicles {:.2} s", get_vehicles.seconds);
    let mut rollouts = BTreeMap::new();
    for parallel in PARALLEL {
        rollouts.insert(parallel, roll_out(&operator, &broker, vehicles, parallel).await?);
    }
    let exporter = export(&operator).await?;
    let broker_memory = broker.usage().map(|usage| usage.resident).unwrap_or_default();
    let mut broker_restart = BTreeMap::new();
    broker_restart.insert(default_spread, restart(vehicles, &mut broker, &fleet).await?);
    let processes = fleet.pids().len();
    fleet.stop().await?;
    let spread = vehicles.div_ceil(PER_SECOND) as u64;
    if spread > default_spread {
        let mut broker = Mosquitto::start().await?;
        let (fleet, _) = start(vehicles, broker.settings(), spread, None).await?;
        broker_restart.insert(spread, restart(vehicles, &mut broker, &fleet).await?);
        fleet.stop().await?;
    }
    Ok(GrowthFigures {
        processes,
        memory_each: before.resident as f64 / vehicles as f64,
        cpu_each,
        broker_memory,
        cold_start,
        broker_restart,
        get_vehicles,
        get_workloads,
        rollouts,
        exporter,
    })
}

/// Starts a fleet, and waits until all are ready. At most `at_once` are starting at a
/// time.
pub(super) async fn start(
    vehicles: usize,
    mut settings: Vec<(&'static str, String)>,
    spread: u64,
    at_once: Option<usize>,
) -> anyhow::Result<(Fleet, OnlineFigures)> {
    settings.push(("MQTT_RECONNECT_SPREAD", format!("{spread}s")));
    let (fleet, notes) = Fleet::start(vehicles, &settings, at_once).await?;
    notes.iter().for_each(|note| println!("  {note}"));
    println!("  {}", fleet.describe());
    fleet.all_ready().await?;
    println!("  {}", fleet.report());
    let online = fleet.online(fleet.start_time(), None);
    Ok((fleet, online.into()))
}

/// Restarts the broker, and waits until all are back.
async fn restart(
    vehicles: usize,
    broker: &mut Mosquitto,
    fleet: &Fleet,
) -> anyhow::Result<OnlineFigures> {
    let stopped = broker.restart().await?;
    let all: BTreeSet<String> = (1..=vehicles).map(vin).collect();
    fleet.ready_again(&all, stopped).await?;
    let online = fleet.online(stopped, None);
    println!(
        "  back after {:.1} s, at most {} in one second",
        online.all.as_secs_f64(),
        online.peak
    );
    Ok(online.into())
}

async fn roll_out(
    operator: &Operator,
    broker: &Mosquitto,
    vehicles: usize,
    parallel: usize,
) -> anyhow::Result<RolloutFigures> {
    // The counters of the broker are a second old.
    sleep(Duration::from_secs(2)).await;
    let before = broker.messages().await?;
    let command = deploy(operator, vehicles, parallel, &format!("1.{parallel}")).await?;
    sleep(Duration::from_secs(2)).await;
    let messages = (broker.messages().await? - before) as f64 / vehicles as f64;
    Ok(RolloutFigures { command, messages })
}

/// The id of the roll-out of a version.
fn rollout_id(version: &str) -> String {
    format!("version{}", version.replace('.', ""))
}

/// How many requests the roll-out of a version has sent.
pub(super) fn sent(operator: &Operator, version: &str) -> usize {
    let journal = operator.folder().join("ank-fleet").join(rollout_id(version));
    let lines = std::fs::read_to_string(journal.join("transitions.jsonl")).unwrap_or_default();
    lines.lines().filter(|line| line.contains(r#""type":"sent""#)).count()
}

/// Rolls a version of a workload out to all.
pub(super) async fn deploy(
    operator: &Operator,
    vehicles: usize,
    parallel: usize,
    version: &str,
) -> anyhow::Result<CommandFigures> {
    let (command, succeeded) = try_deploy(operator, parallel, version).await?;
    anyhow::ensure!(succeeded == vehicles, "only {succeeded} of {vehicles} have succeeded");
    Ok(command)
}

/// Rolls a version of a workload out to all. Returns also how many have succeeded: some may be offline.
pub(super) async fn try_deploy(
    operator: &Operator,
    parallel: usize,
    version: &str,
) -> anyhow::Result<(CommandFigures, usize)> {
    /// The exit code of `ank-fleet` when vehicles were offline.
    const PENDING: i32 = 4;
    let manifest = format!(
        "apiVersion: v1\nworkloads:\n  app:\n    agent: agent_A\n    runtime: podman\n    \
         runtimeConfig: \"image: registry.example/app:{version}\"\n"
    );
    let file = format!("app-{version}.yaml");
    std::fs::write(operator.folder().join(&file), manifest)?;
    let (parallel, id) = (parallel.to_string(), rollout_id(version));
    let how = ["--all", "--yes", "--parallel", &parallel, "--id", &id, "-o", "jsonl"];
    let apply = [&["apply", &file], &how[..]].concat();
    let (command, shown) = operator.run_with(&apply, &[0, PENDING]).await?;
    let is_success = |line: &&str| {
        let end: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        end.get("outcome").is_some_and(|outcome| outcome == "succeeded")
    };
    let succeeded = shown.lines().filter(is_success).count();
    println!("  roll-out with --parallel {parallel}: {:.1} s, {succeeded} ok", command.seconds);
    Ok((command, succeeded))
}

async fn export(operator: &Operator) -> anyhow::Result<ExporterFigures> {
    let mut command =
        operator.command(&["exporter", "--listen", "127.0.0.1:0", "--group-by", "region"])?;
    let mut exporter = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let errors = exporter.stderr.take().context("it has an output")?;
    let mut lines = BufReader::new(errors).lines();
    let address = loop {
        let line = lines.next_line().await?.context("the exporter has ended")?;
        if let Some((_, address)) = line.split_once("http://") {
            break address.trim_end_matches("/metrics").to_owned();
        }
    };
    // The page is made anew every few seconds; the first one may not have all.
    sleep(Duration::from_secs(5)).await;
    let start = Instant::now();
    let mut page = String::new();
    let mut stream = TcpStream::connect(&address).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    stream.read_to_string(&mut page).await?;
    let scrape_seconds = start.elapsed().as_secs_f64();
    anyhow::ensure!(page.contains("ank_fleet_vehicles{"), "{page}");
    let usage = exporter.id().and_then(Usage::of).context("the exporter has ended")?;
    exporter.kill().await?;
    Ok(ExporterFigures { scrape_seconds, scrape_size: page.len(), memory: usage.resident })
}
