//! What revisions cost: the time of a change with and without `STATE_DIR`, the time of reads
//! while changes are synced, and the time to put 100 workloads back.
//!
//! With `ANKAIOS_BIN_DIR`, the directory with `ank-server`, `ank-agent` and `ank`, also the time of a
//! change with a real Ankaios: the simulated one answers ten times faster.
//!
//! `make bench` runs it. It prints a table and writes the same figures as JSON to
//! `target/bench/revisions.json`. The store is on the file system of `target`; the path of a
//! directory as argument uses another one, and that of a binary as second argument measures it
//! instead of the shipped one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stdout, reason = "the table is the purpose of this program")]
#![allow(clippy::cast_precision_loss, reason = "figures are shown with few digits")]

mod ankaios;
mod disk;
#[path = "../speed/mqtt.rs"]
mod mqtt;
mod operator;
#[allow(dead_code, reason = "it also adds up rounds")]
#[path = "../speed/round.rs"]
mod round;
#[allow(dead_code, reason = "other benchmarks have more vehicles")]
#[path = "../speed/scene.rs"]
mod scene;
#[path = "../../tests/support/mod.rs"]
mod support;
#[allow(dead_code, reason = "it also measures processor time")]
#[path = "../speed/usage.rs"]
mod usage;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use disk::sync;
use operator::Operator;
use round::median;
use scene::{Connector, Scene, shipped_binary};
use serde_json::{Value, json};
use tempfile::TempDir;
use usage::{machine, memory};

/// The number of rounds, and of requests in each. There are many short rounds, so that a
/// disturbance of the machine affects both sides alike.
const ROUNDS: usize = 40;
const REQUESTS: usize = 10;

/// The number of workloads that are put back.
const WORKLOADS: usize = 100;

/// How often they are put back. More often the link would be lost for good.
const RESTORATIONS: usize = 5;

fn main() {
    let arguments = || std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let parent = arguments().next().map_or(target, PathBuf::from);
    let state_dir = TempDir::new_in(&parent).unwrap();
    let binary = arguments().nth(1).map_or_else(shipped_binary, PathBuf::from);
    let (plain_scene, kept_scene) = (Scene::start(), Scene::start());
    let start = |scene: &Scene, settings: &[(&str, &str)]| {
        let port = scene.broker.port();
        let connector = Connector::with(&binary, port, scene.vehicle.control_interface(), settings);
        let mut operator = Operator::connect(scene.broker.port());
        sleep(Duration::from_secs(1));
        operator.change();
        (connector, operator)
    };
    let (_plain, mut plain) = start(&plain_scene, &[]);
    // The restarts of the server follow soon after each other; that is no crash loop.
    let settings = [("STATE_DIR", state_dir.path().to_str().unwrap()), ("STABLE_TIME", "100ms")];
    let (connector, mut kept) = start(&kept_scene, &settings);
    let idle = memory(connector.pid(), "VmRSS");

    // What the disk takes for the two changes of the store, each with its files and folders.
    let (mut changes, mut kept_changes, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    let (mut reads, mut reads_beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        changes.push(median((0..REQUESTS).map(|_| plain.change())));
        kept_changes.push(median((0..REQUESTS).map(|_| kept.change())));
        syncs.push(median((0..REQUESTS).map(|_| sync(state_dir.path()))));
        reads.push(median((0..REQUESTS).map(|_| read_beside_a_change(&mut plain))));
        reads_beside.push(median((0..REQUESTS).map(|_| read_beside_a_change(&mut kept))));
    }
    let restored = median((0..RESTORATIONS).map(|_| restore(&kept_scene, &mut kept)));

    let ratios = changes.iter().zip(&kept_changes).zip(&syncs);
    let ratio = median(ratios.map(|((change, kept), sync)| (kept - sync) / change));
    let read_ratio = median(reads.iter().zip(&reads_beside).map(|(read, beside)| beside / read));
    let mut figures = json!({
        "machine": machine(),
        "change_s": median(changes),
        "change_with_revisions_s": median(kept_changes),
        "sync_s": median(syncs),
        "ratio_without_sync": ratio,
        "read_s": median(reads),
        "read_with_revisions_s": median(reads_beside),
        "read_ratio": read_ratio,
        "workloads": WORKLOADS,
        "restored_after_s": restored,
        "idle_bytes": idle,
    });
    println!("{}", table(&figures));
    figures["ankaios"] = ankaios::measure(&binary, &parent).unwrap_or_default();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench/revisions.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serde_json::to_vec_pretty(&figures).unwrap()).unwrap();
}

/// The time of a read that is sent right after a change.
fn read_beside_a_change(kept: &mut Operator) -> f64 {
    kept.number += 1;
    let manifest = format!("apiVersion: v1\nconfigs:\n  c: '{}'\n", kept.number);
    kept.send("manifest/apply", manifest);
    let start = Instant::now();
    kept.send("state", r#"["workloadStates"]"#);
    // Without revisions the change is answered first.
    let mut time = None;
    for _ in 0..2 {
        if kept.reply().get("workload_states").is_some() {
            time = Some(start.elapsed().as_secs_f64());
        }
    }
    time.unwrap()
}

/// The time from the start of the server until all workloads are back.
fn restore(scene: &Scene, kept: &mut Operator) -> f64 {
    let mut manifest = "apiVersion: v1\nworkloads:\n".to_owned();
    for number in 0..WORKLOADS {
        manifest += &format!(
            "  w{number}:\n    runtime: podman\n    agent: agent_A\n    runtimeConfig: 'image: x'\n"
        );
    }
    kept.ask("manifest/apply", manifest);
    sleep(Duration::from_secs(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        scene.vehicle.kill_agent().await.unwrap();
        scene.vehicle.restart_server().await.unwrap();
        scene.vehicle.start_agent().await.unwrap();
    });
    let start = Instant::now();
    loop {
        let state = scene.vehicle.desired_state();
        if state.workloads.unwrap_or_default().workloads.len() >= WORKLOADS {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "they are not put back");
        sleep(Duration::from_millis(5));
    }
    let time = start.elapsed().as_secs_f64();
    sleep(Duration::from_secs(1));
    time
}

fn table(figures: &Value) -> String {
    let milliseconds = |name: &str| format!("{:.2} ms", figures[name].as_f64().unwrap() * 1e3);
    let ratio = |name: &str| format!("{:.2}", figures[name].as_f64().unwrap());
    let rows = [
        ("a change without STATE_DIR", milliseconds("change_s")),
        ("a change with STATE_DIR", milliseconds("change_with_revisions_s")),
        ("the disk's own time to sync it", milliseconds("sync_s")),
        ("ratio, without the disk's own time", ratio("ratio_without_sync")),
        ("a read right after a change without STATE_DIR", milliseconds("read_s")),
        ("a read while the change is synced", milliseconds("read_with_revisions_s")),
        ("ratio", ratio("read_ratio")),
        ("100 workloads are back after the agent's start", milliseconds("restored_after_s")),
        (
            "memory with STATE_DIR",
            format!("{:.1} MB", figures["idle_bytes"].as_f64().unwrap() / 1e6),
        ),
    ];
    let rows = rows.map(|(name, value)| format!("| {name} | {value} |\n"));
    format!("| revisions | |\n|---|---|\n{}", rows.concat())
}
