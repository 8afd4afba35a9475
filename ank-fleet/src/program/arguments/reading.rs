//! The arguments of commands that read, and of those that send one request.

use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::{ArgValueCandidates, ArgValueCompleter};

use super::candidates::{files_and_vehicles, vehicles, workloads};
use super::rollout::duration;
use super::selection::SelectionArgs;

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table with more columns.
    Wide,
    /// One JSON document.
    Json,
    /// A line of JSON for each item.
    Jsonl,
    /// YAML.
    Yaml,
    /// Names only.
    Name,
}

/// What `get` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Vehicles,
    Workloads,
    State,
    Configs,
    Events,
    Subscriptions,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// What to show
    pub(crate) kind: Kind,
    /// Vehicles [default: all]
    #[arg(value_name = "VIN", add = ArgValueCandidates::new(vehicles))]
    pub(crate) vins: Vec<crate::Vin>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// The form of the output
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Output>,
    /// Go on with changes
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) asking: AskingArgs,
}

/// How many vehicles are asked, and for how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct AskingArgs {
    /// How long to wait for the answer of a vehicle
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How many vehicles are asked at the same time
    #[arg(long, value_name = "NUMBER", default_value = "200",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    at_once: u16,
}

impl AskingArgs {
    pub(crate) fn parallel(&self) -> usize {
        self.at_once.into()
    }
}

#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// The operation, for example state
    pub(crate) operation: String,
    /// The payload; @FILE reads it from a file, @- from standard input. Vehicles are named by
    /// --vehicle
    #[arg(default_value = "")]
    pub(crate) payload: String,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// The form of the output
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Output>,
    /// A user property: force=true; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    pub(crate) property: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) asking: AskingArgs,
}

/// Parses `NAME=VALUE`.
fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// Manifests (- is standard input), and VINs; what is both is a file
    #[arg(required = true, value_name = "FILE|VIN",
          add = ArgValueCompleter::new(files_and_vehicles))]
    pub(crate) files: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) asking: AskingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// What apply -d would delete
    #[arg(short, long)]
    pub(crate) delete: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VinsArgs {
    /// Vehicles
    #[arg(value_name = "VIN", add = ArgValueCandidates::new(vehicles))]
    pub(crate) vins: Vec<crate::Vin>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// The form of the output
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) asking: AskingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Workloads; vehicles are named by --vehicle
    #[arg(required = true, value_name = "WORKLOAD", add = ArgValueCandidates::new(workloads))]
    pub(crate) workloads: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// The state
    #[arg(long = "for", value_name = "STATE", default_value = "RUNNING")]
    pub(crate) state: String,
    /// How long to wait, at most 10m
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Workloads; vehicles are named by --vehicle
    #[arg(required = true, value_name = "WORKLOAD", add = ArgValueCandidates::new(workloads))]
    pub(crate) workloads: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Go on with new lines
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the last lines
    #[arg(short = 'n', long, value_name = "NUMBER")]
    pub(crate) lines: Option<u32>,
    /// Lines from then on: RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Lines until then: RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// The maximum number of vehicles, also of those of --sample
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    pub(crate) max_vehicles: usize,
    /// So many of the vehicles, chosen at random
    #[arg(long, value_name = "NUMBER")]
    pub(crate) sample: Option<usize>,
    #[command(flatten)]
    pub(crate) asking: AskingArgs,
}
