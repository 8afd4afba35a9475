//! The command line.

mod candidates;
mod changing;
mod connection;
mod contexts;
mod others;
mod reading;
mod rollout;
mod selection;
mod signing;
mod typed;

use std::ffi::OsString;

use clap::builder::OsStr;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use changing::{
    ApplyArgs, Lines, ResumeArgs, RetryArgs, RolloutCommand, StatusArgs, UndoArgs,
};
pub(crate) use connection::{Connection, ConnectionArgs};
pub(crate) use others::{CompletionArgs, ExporterArgs, ManArgs};
pub(crate) use reading::{
    AskingArgs, DiffArgs, FilesArgs, GetArgs, Kind, LogsArgs, Output, RequestArgs, VinsArgs,
    WaitArgs,
};
pub(crate) use selection::split;
pub(crate) use signing::{SignArgs, VerifyArgs};

use super::config;
use super::failure::Failure;

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
    /// Serve metrics of the fleet for Prometheus
    #[command(after_help = "\
Example:
  ank-fleet exporter --listen 127.0.0.1:9186 --group-by region")]
    Exporter(ExporterArgs),
    /// Print the completions of a shell
    #[command(after_help = "\
Example:
  ank-fleet completion bash > ~/.local/share/bash-completion/completions/ank-fleet")]
    Completion(CompletionArgs),
    /// Write the man pages, one for each command
    #[command(after_help = "\
Example:
  ank-fleet man ~/.local/share/man/man1")]
    Man(ManArgs),
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
