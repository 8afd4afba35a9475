//! The command line.

mod connection;
mod rollout;
mod selection;

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::OsStr;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub(crate) use connection::{Connection, ConnectionArgs};
pub(crate) use rollout::{RolloutArgs, until};
pub(crate) use selection::{SelectionArgs, read_text, split};

use super::config;
use super::failure::Failure;
use crate::rollout::RolloutId;
use rollout::duration;

/// Commands for whole fleets of vehicles that run Eclipse Ankaios, over MQTT.
///
/// Vehicles are selected by VINs, lists of VINs or labels. A change of more than one vehicle is a
/// roll-out in waves that stops above a limit of failures, can be resumed and taken back.
///
/// Exit codes: 0 all succeeded; 1 some failed; 2 wrong usage; 3 stopped by a limit or a gate; 4 only
/// unreachable or pending vehicles are left; 5 no broker; 6 not trusted; 130 Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "ank-fleet", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show vehicles, workloads, states, configs, events or subscriptions
    #[command(after_help = "\
Examples:
  ank-fleet get vehicles -o wide
  ank-fleet get workloads -l region=eu
  ank-fleet get state WDB0412 -o yaml
  ank-fleet get events --all -o jsonl")]
    Get(GetArgs),
    /// Send any request of the contract, and print the replies
    #[command(after_help = "\
Examples:
  ank-fleet request state '[\"workloadStates\"]' --vehicle WDB0412
  ank-fleet request manifest/validate @nginx.yaml -l canary
  ank-fleet request manifest/history --all -o jsonl")]
    Request(RequestArgs),
    /// Check manifests, here or also by the vehicles
    #[command(after_help = "\
Examples:
  ank-fleet validate nginx.yaml
  ank-fleet validate nginx.yaml -l region=eu")]
    Validate(FilesArgs),
    /// Apply manifests to vehicles, or delete what they contain, as a roll-out in waves
    #[command(after_help = "\
Examples:
  ank-fleet apply nginx.yaml WDB0412
  ank-fleet apply nginx.yaml -l region=eu --waves 1,10%,100% --soak 2m
  ank-fleet apply -d nginx.yaml --all --yes")]
    Apply(ApplyArgs),
    /// Show what apply would change; vehicles with the same answer together
    #[command(after_help = "\
Examples:
  ank-fleet diff nginx.yaml --all
  ank-fleet diff -d nginx.yaml -l canary")]
    Diff(DiffArgs),
    /// Show the revisions of vehicles
    #[command(after_help = "\
Examples:
  ank-fleet history WDB0412
  ank-fleet history -l region=eu -o jsonl")]
    History(VinsArgs),
    /// Wait until workloads have a state on all vehicles
    #[command(after_help = "\
Examples:
  ank-fleet wait nginx -l region=eu
  ank-fleet wait nginx --vehicle WDB0412 --for SUCCEEDED --timeout 5m")]
    Wait(WaitArgs),
    /// Print the logs of workloads
    #[command(after_help = "\
Examples:
  ank-fleet logs nginx --vehicle WDB0412 -n 20
  ank-fleet logs nginx -l canary -f")]
    Logs(LogsArgs),
    /// List, show and control roll-outs
    #[command(
        subcommand,
        after_help = "\
Examples:
  ank-fleet rollout list
  ank-fleet rollout resume 7f3a
  ank-fleet rollout undo 7f3a"
    )]
    Rollout(RolloutCommand),
    /// Sign a request with ssh-keygen, so that vehicles with a trust file accept it
    #[command(after_help = "\
Examples:
  ank-fleet sign nginx.yaml --fleet prod-eu --key ~/.ssh/release --output nginx.bundle.json
  ank-fleet sign nginx.bundle.json --key ~/.ssh/second --output nginx.bundle.json")]
    Sign(SignArgs),
    /// Verify a signed request with a trust file
    #[command(after_help = "\
Example:
  ank-fleet verify nginx.bundle.json --trust-file trust.yaml --vehicle WDB0412")]
    Verify(VerifyArgs),
    /// Print the completions of a shell
    #[command(after_help = "\
Example:
  ank-fleet completion bash > ~/.local/share/bash-completion/completions/ank-fleet")]
    Completion(CompletionArgs),
}

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
    #[arg(value_name = "VIN")]
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
    /// The payload; @FILE reads it from a file, @- from standard input
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
    /// Manifests (- is standard input), and VINs
    #[arg(required = true, value_name = "FILE|VIN")]
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
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,
    /// Delete what the manifests contain
    #[arg(short, long)]
    pub(crate) delete: bool,
    /// jsonl: print a line of JSON for each transition
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Output>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VinsArgs {
    /// Vehicles
    #[arg(value_name = "VIN")]
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
    /// Workloads
    #[arg(required = true, value_name = "WORKLOAD")]
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
    /// Workloads
    #[arg(required = true, value_name = "WORKLOAD")]
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
    /// The maximum number of vehicles
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    pub(crate) max_vehicles: usize,
    /// So many of the vehicles, chosen at random
    #[arg(long, value_name = "NUMBER")]
    pub(crate) sample: Option<usize>,
    #[command(flatten)]
    pub(crate) asking: AskingArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// List all roll-outs of this machine
    #[command(after_help = "Example:\n  ank-fleet rollout list")]
    List,
    /// Show a roll-out
    #[command(after_help = "Example:\n  ank-fleet rollout status 7f3a -o jsonl")]
    Status(StatusArgs),
    /// Send nothing new until resume
    #[command(after_help = "Example:\n  ank-fleet rollout pause 7f3a")]
    Pause(IdArgs),
    /// Go on with a roll-out that was interrupted, paused or stopped
    #[command(after_help = "Example:\n  ank-fleet rollout resume 7f3a --until 05:00")]
    Resume(ResumeArgs),
    /// Attempt vehicles again that have failed, or are pending
    #[command(after_help = "Example:\n  ank-fleet rollout retry 7f3a --failed")]
    Retry(RetryArgs),
    /// End a roll-out; what was changed stays
    #[command(after_help = "Example:\n  ank-fleet rollout abort 7f3a")]
    Abort(IdArgs),
    /// Take back what a roll-out has changed
    #[command(after_help = "Example:\n  ank-fleet rollout undo 7f3a")]
    Undo(UndoArgs),
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The id of the roll-out
    pub(crate) id: RolloutId,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The id of the roll-out
    pub(crate) id: RolloutId,
    /// jsonl: a line for each vehicle
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Output>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The id of the roll-out
    pub(crate) id: RolloutId,
    /// Start nothing after this time: 2026-01-31T05:00:00Z, or 05:00 in UTC
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// jsonl: print a line of JSON for each transition
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Output>,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The id of the roll-out
    pub(crate) id: RolloutId,
    /// Those that have failed, too
    #[arg(long)]
    pub(crate) failed: bool,
    /// Those that are pending (the default)
    #[arg(long, conflicts_with = "failed")]
    pub(crate) pending: bool,
    /// jsonl: print a line of JSON for each transition
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Output>,
}

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The id of the roll-out
    pub(crate) id: RolloutId,
    /// Go on without a question
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// A signed manifest/rollback with the payload {"rollout": ID}, for vehicles with a trust file
    #[arg(long, value_name = "FILE")]
    pub(crate) signed: Option<String>,
    /// jsonl: print a line of JSON for each transition
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Output>,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// Manifests, or one signed request to which a signature is added
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// The key: a private key file, or a public one whose private key an agent has
    #[arg(long, value_name = "FILE")]
    pub(crate) key: std::path::PathBuf,
    /// The operation
    #[arg(long, value_name = "NAME", default_value = "manifest/apply")]
    pub(crate) operation: String,
    /// Only for these vehicles; may be repeated [default: all of the fleet]
    #[arg(long = "vehicle", value_name = "VIN")]
    pub(crate) vehicles: Vec<crate::Vin>,
    /// How long the request is valid, at most 30 days
    #[arg(long, value_name = "DURATION", default_value = "14d", value_parser = duration)]
    pub(crate) valid_for: Duration,
    /// Higher than that of all requests before for the same items [default: the time in seconds]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) serial: Option<u64>,
    /// When vehicles take the change back by themselves
    #[arg(long, value_name = "MODE", default_value = "on-failure")]
    pub(crate) rollback: fleet_contract::revision::RollbackMode,
    /// Name of the release
    #[arg(long, value_name = "NAME")]
    pub(crate) release: Option<String>,
    /// Lift the protection of workloads
    #[arg(long)]
    pub(crate) force: bool,
    /// Where the signed request is written [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The signed request
    pub(crate) file: String,
    /// The trust file of the vehicles
    #[arg(long, env, value_name = "FILE", hide_env_values = true)]
    pub(crate) trust_file: std::path::PathBuf,
    /// A vehicle for which it must be [default: one that it names]
    #[arg(long, value_name = "VIN")]
    pub(crate) vehicle: Option<crate::Vin>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

impl CommandLine {
    /// Parses arguments, with the settings of the context as defaults.
    ///
    /// # Errors
    /// The configuration file cannot be used, or the arguments are wrong.
    pub(crate) fn read(args: &[OsString]) -> Result<Self, ArgumentsError> {
        let file = config::flag(args, "--config").map(Into::into);
        let context = config::flag(args, "--context");
        let mut command = command();
        for (setting, value) in config::settings(file, context.as_deref())? {
            command = command.mut_arg(setting, |arg| arg.default_value(OsStr::from(value)));
        }
        let matches = command.try_get_matches_from(args)?;
        Ok(Self::from_arg_matches(&matches)?)
    }
}

/// The command line: the options of the connection may follow the subcommand, too.
pub(crate) fn command() -> clap::Command {
    CommandLine::command()
        .mut_args(|arg| arg.global(true).help_heading("Connection").hide_short_help(true))
}

/// Why there is no command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArgumentsError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] Failure),
    /// The arguments, or a request for help.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions_and_each_command_has_an_example() {
        fn check(command: &clap::Command) {
            if !command.has_subcommands() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("ank-fleet "), "{}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        let command = command();
        command.clone().debug_assert();
        check(&command);
    }
}
