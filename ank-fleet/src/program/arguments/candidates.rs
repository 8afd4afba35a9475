//! What the completions of a shell offer: vehicles, workloads and roll-outs.
//!
//! The program asks itself, in a process of its own: so the settings are those that any command
//! would use, and those of the command line that is completed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use clap::Args;
use clap_complete::engine::ValueCompleter;
use clap_complete::{CompletionCandidate, PathCompleter};

use super::super::config;
use super::connection::ConnectionArgs;
use super::typed::{at_home, joined, words};
use crate::journal::Journal;

/// Of so many vehicles the workloads are offered.
const MAX_ASKED: usize = 20;

/// The time limit for the connection. What is typed counts for the command only.
const CONNECT_TIMEOUT: &str = "connect-timeout";

/// The vehicles that are seen.
pub(super) fn vehicles() -> Vec<CompletionCandidate> {
    candidates(names(&["vehicles"]))
}

/// Files, and after one of them also vehicles.
pub(super) fn files_and_vehicles(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = PathCompleter::any().stdio().complete(current);
    let words = words();
    let before = words.split_last().map(|(_, before)| before).unwrap_or_default();
    let is_file = |word: &OsString| word == "-" || Path::new(word).is_file();
    if before.iter().any(is_file) {
        let vins = names(&["vehicles"]);
        let current = current.to_string_lossy();
        found.extend(candidates(vins.into_iter().filter(|vin| vin.starts_with(&*current))));
    }
    found
}

/// The workloads of some of the vehicles.
pub(super) fn workloads() -> Vec<CompletionCandidate> {
    let vins = names(&["vehicles"]);
    let vins = vins.iter().take(MAX_ASKED).map(String::as_str);
    let args: Vec<&str> = ["workloads", "--timeout", "2s"].into_iter().chain(vins).collect();
    let workloads = names(&args);
    let workloads: BTreeSet<String> = workloads
        .iter()
        .filter_map(|name| name.split_once('/').map(|(_, workload)| workload.to_owned()))
        .collect();
    candidates(workloads.into_iter().filter(|name| is_workload(name)))
}

/// Whether Ankaios allows a name. What a vehicle names otherwise must not get into a shell.
fn is_workload(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(is_allowed)
}

/// The roll-outs of this machine.
pub(super) fn rollouts() -> Vec<CompletionCandidate> {
    let ids = config::journals().and_then(|folder| Journal::list(&folder).ok());
    candidates(ids.unwrap_or_default().into_iter().map(Into::into))
}

fn candidates(names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// What `get … -o name` prints. Nothing if it fails: a completion has no place for errors.
fn names(what: &[&str]) -> Vec<String> {
    let Ok(program) = std::env::current_exe() else { return Vec::new() };
    let output = Command::new(program)
        .arg("get")
        .args(what)
        .args(["-o", "name", "--connect-timeout", "2s"])
        .args(connection(&words()))
        // With it, the program would complete instead.
        .env_remove("COMPLETE")
        .output();
    let Ok(output) = output else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The options of the connection among these words.
fn connection(words: &[OsString]) -> Vec<String> {
    let known = ConnectionArgs::augment_args(clap::Command::new(""));
    let words = joined(words);
    known
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .filter(|name| *name != CONNECT_TIMEOUT)
        .filter_map(|name| {
            let value = config::flag(&words, &format!("--{name}"))?;
            Some(format!("--{name}={}", at_home(value)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_shell_takes_as_they_are_become_candidates() {
        for (name, is_offered) in
            [("nginx", true), ("a_B-1", true), ("$(reboot)", false), ("--all", false), ("", false)]
        {
            assert_eq!(is_workload(name), is_offered, "{name}");
        }
    }

    #[test]
    fn the_options_of_the_connection_are_those_that_are_typed() {
        let connection = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            connection(&words)
        };
        assert_eq!(connection("ank-fleet history V0"), Vec::<String>::new());
        assert_eq!(
            connection(
                "ank-fleet --context prod logs --inventory=a.csv -n 5 --mqtt-broker-port 1 "
            ),
            ["--context=prod", "--mqtt-broker-port=1", "--inventory=a.csv"]
        );
        // As Bash splits it.
        assert_eq!(
            connection("ank-fleet history --context = prod --connect-timeout 9s "),
            ["--context=prod"]
        );
    }
}
