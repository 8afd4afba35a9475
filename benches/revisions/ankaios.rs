//! The time of a change with a real Ankaios, with and without `STATE_DIR`.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::disk::sync;
use crate::operator::Operator;
use crate::round::median;
use crate::scene::{BROKER_SETTINGS, Connector};
use crate::support::ankaios::{Ankaios, programs};
use crate::support::podman::{Podman, WORKLOAD_IMAGE};
use crate::support::{Broker, eventually, say};

/// The number of rounds, and of changes in each.
const ROUNDS: usize = 10;
const CHANGES: usize = 50;

/// How long Podman may take to start the workloads.
const PATIENCE: Duration = Duration::from_secs(90);

/// The workloads whose control interfaces the connectors use.
const WORKLOADS: [&str; 2] = ["plain", "kept"];

/// Measures with a store in a new folder in `parent`, and prints the figures. `None`, with a message,
/// without Ankaios or Podman.
pub(crate) fn measure(binary: &Path, parent: &Path) -> Option<Value> {
    let parts = programs().and_then(|programs| Ok((programs, Podman::detect()?)));
    let (programs, podman) = match parts {
        Ok(parts) => parts,
        Err(missing) => {
            say(&format!("\nSKIPPED revisions with a real Ankaios: {missing}\n"));
            return None;
        }
    };
    let state_dir = TempDir::new_in(parent).unwrap();
    let state_dir = state_dir.path();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (_ankaios, connectors) = runtime.block_on(async {
        let ankaios = Ankaios::start(programs, &podman, manifest).await;
        let mut connectors = Vec::new();
        for workload in WORKLOADS {
            let broker = Broker::quiet(&BROKER_SETTINGS).await;
            let control_interface = eventually("the workload runs", PATIENCE, async || {
                ankaios.control_interface(workload)
            })
            .await;
            let folder = [("STATE_DIR", state_dir.to_str().unwrap())];
            let settings = if workload == "kept" { &folder[..] } else { &[] };
            let connector = Connector::with(binary, broker.port(), &control_interface, settings);
            connectors.push((broker, connector));
        }
        (ankaios, connectors)
    });
    let mut operators = connectors.iter().map(|(broker, _)| Operator::connect(broker.port()));
    let (mut plain, mut kept) = (operators.next()?, operators.next()?);
    std::thread::sleep(Duration::from_secs(2));

    let (mut changes, mut kept_changes, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let change = median((0..CHANGES).map(|_| plain.change()));
        let kept_change = median((0..CHANGES).map(|_| kept.change()));
        let sync = median((0..CHANGES).map(|_| sync(state_dir)));
        ratios.push((kept_change - sync) / change);
        changes.push(change);
        kept_changes.push(kept_change);
    }
    let (change, kept_change, ratio) = (median(changes), median(kept_changes), median(ratios));
    println!(
        "| with a real Ankaios | |\n|---|---|\n| a change without STATE_DIR | {:.2} ms |\n\
         | a change with STATE_DIR | {:.2} ms |\n| ratio, without the disk's own time | {ratio:.2} |\n",
        change * 1e3,
        kept_change * 1e3,
    );
    Some(json!({
        "change_s": change,
        "change_with_revisions_s": kept_change,
        "ratio_without_sync": ratio,
    }))
}

/// Workloads that do nothing, with all rights.
fn manifest(agent: &str) -> String {
    let workload = |name: &str| {
        format!(
            "  {name}:
    runtime: podman
    agent: {agent}
    controlInterfaceAccess:
      allowRules:
        - type: StateRule
          operation: ReadWrite
          filterMasks: [\"*\"]
    runtimeConfig: |
      image: {WORKLOAD_IMAGE}
      commandOptions: [\"--net=host\"]
"
        )
    };
    format!("apiVersion: v1\nworkloads:\n{}", WORKLOADS.map(workload).concat())
}
