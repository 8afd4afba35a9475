//! Measures fleets, brokers and `ank-fleet`.

pub(crate) mod cluster;
mod command;
pub(crate) mod growth;
mod traffic;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Parts of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Fleets of several sizes with Mosquitto: starts, memory, commands, roll-outs.
    Growth,
    /// The same on the cluster of `scripts/cluster.sh run`, with a node that is killed.
    Cluster,
    /// Bytes on the wire, at rest and for each request. Takes a quarter of an hour.
    Traffic,
}

/// All figures. Times are in seconds, sizes in bytes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// Where they were measured.
    pub(crate) machine: String,
    /// By size of the fleet.
    pub(crate) growth: BTreeMap<usize, growth::GrowthFigures>,
    /// By size of the fleet.
    pub(crate) cluster: BTreeMap<usize, cluster::ClusterFigures>,
    /// At rest, by keep-alive time in seconds.
    pub(crate) traffic: BTreeMap<u64, traffic::RestFigures>,
    /// For each request.
    pub(crate) request: Option<traffic::RequestFigures>,
}

impl Figures {
    /// Reads a file that [`measure`] has written. A file that does not exist has no figures.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context(path.display().to_string()),
        }
    }

    fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}

/// Measures, and writes each result as soon as it is known.
pub(crate) async fn measure(sizes: &[usize], only: &[Part], output: &Path) -> anyhow::Result<()> {
    let mut figures = Figures::read(output)?;
    figures.machine = machine();
    // The cluster has to be asked for.
    let is_wanted =
        |part| only.contains(&part) || only.is_empty() && !matches!(part, Part::Cluster);
    if is_wanted(Part::Growth) {
        for size in sizes {
            println!("{size} vehicles");
            figures.growth.insert(*size, growth::measure(*size).await?);
            figures.write(output)?;
        }
    }
    if is_wanted(Part::Cluster) {
        for size in sizes {
            println!("{size} vehicles on a cluster");
            figures.cluster.insert(*size, cluster::measure(*size).await?);
            figures.write(output)?;
        }
    }
    if is_wanted(Part::Traffic) {
        figures.request = Some(traffic::requests().await?);
        figures.write(output)?;
        figures.traffic = traffic::at_rest().await?;
        figures.write(output)?;
    }
    println!("written to {}; `fleet-load charts` draws them", output.display());
    Ok(())
}

/// Processor and memory of this machine.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
        value.unwrap_or("?").to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kilobytes: u64 =
        field(&memory, "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    format!("{cores} cores of {}, {} GiB", field(&cpu, "model name"), kilobytes >> 20)
}
