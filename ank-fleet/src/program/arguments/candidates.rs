//! What the completions of a shell offer: vehicles, workloads and roll-outs.
//!
//! The program asks itself, in a process of its own: so the settings are those that any command
//! would use.

use std::collections::BTreeSet;
use std::process::Command;

use clap_complete::CompletionCandidate;

use super::super::config;
use crate::journal::Journal;

/// Of so many vehicles the workloads are offered.
const MAX_ASKED: usize = 20;

/// The vehicles that are seen.
pub(super) fn vehicles() -> Vec<CompletionCandidate> {
    candidates(names(&["vehicles"]))
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
    candidates(workloads)
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
        // With it, the program would complete instead.
        .env_remove("COMPLETE")
        .output();
    let Ok(output) = output else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
