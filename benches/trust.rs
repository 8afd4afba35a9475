//! What it costs to verify a signed request: the time, and the peak of the memory.
//!
//! `make bench` runs it. It prints a table and writes the same figures as JSON to
//! `target/bench/trust.json`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stdout, reason = "the table is the purpose of this program")]
#![allow(clippy::cast_precision_loss, reason = "figures are shown with few digits")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use fleet_trust::testing::{Signer, bundle, trust_file};
use fleet_trust::{DEFAULT_REQUIRE, Purpose, Role, Statement, TrustFile, Vehicles, open};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The number of rounds, and of bundles in each. The table shows the median of the rounds.
const ROUNDS: usize = 21;
const BUNDLES: usize = 500;

/// The payloads: a usual manifest, and the largest one that the default of `MAX_PAYLOAD_SIZE` allows.
const SIZES: [(&str, usize); 2] = [("1 KiB", 1024), ("700 KiB", 700 * 1024)];

/// Two release keys.
type Keys = [Signer; 2];

/// The kinds of the two keys.
const KINDS: [&str; 2] = ["ed25519 and ed25519", "ed25519 and ecdsa"];

fn keys(kind: &str) -> Keys {
    let second = if kind.ends_with("ecdsa") { Signer::ecdsa_p256() } else { Signer::ed25519(2) };
    [Signer::ed25519(1), second]
}

/// The argument with which the program reads a bundle and a trust file, and prints its peak memory.
const READ: &str = "read-one";

/// The same, after it has verified the bundle.
const VERIFY: &str = "verify-one";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, task, bundle, file] = &arguments[..]
        && [READ, VERIFY].contains(&task.as_str())
    {
        println!("{}", peak(task == VERIFY, bundle.as_ref(), file.as_ref()));
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut figures = Vec::new();
    for kind in KINDS {
        for (name, size) in SIZES {
            let (bundle, file) = signed(&keys(kind), size);
            let paths = ["bundle.json", "trust.yaml"].map(|name| folder.path().join(name));
            std::fs::write(&paths[0], &bundle).unwrap();
            std::fs::write(&paths[1], &file).unwrap();
            let [read, verified] = [READ, VERIFY].map(|task| peak_in_own_process(task, &paths));
            figures.push(json!({
                "keys": kind,
                "payload": name,
                "time_s": time(&bundle, &parsed(&file)),
                "peak_bytes": verified.saturating_sub(read),
            }));
        }
    }
    println!("{}", table(&figures));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench/trust.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serde_json::to_vec_pretty(&figures).unwrap()).unwrap();
}

/// A bundle with both signatures, and the text of the trust file for it.
fn signed(keys: &Keys, size: usize) -> (Vec<u8>, String) {
    let statement = Statement {
        operation: "manifest/apply".into(),
        fleet: "prod-eu".into(),
        vehicles: Vehicles::Vins(vec!["1".into()]),
        serial: 1,
        not_before: 0,
        expires: 100,
        force: false,
        rollback: None,
        release: None,
        payload_sha256: [0; 32],
    };
    let keys = keys.each_ref();
    let file = trust_file(2, &keys, &keys);
    (bundle(&statement, &vec![b'x'; size], &keys), file)
}

fn parsed(file: &str) -> TrustFile {
    TrustFile::parse(file.as_bytes(), &DEFAULT_REQUIRE).unwrap()
}

fn verify(bundle: &[u8], file: &TrustFile) {
    let purpose = Purpose {
        operation: "manifest/apply",
        vin: "1",
        role: Role::Release,
        now: 50,
        clock_is_plausible: true,
    };
    let opened = open(black_box(bundle), file, &purpose).unwrap();
    assert_eq!(black_box(opened).signed_by.len(), 2);
}

/// The time to verify one bundle.
fn time(bundle: &[u8], file: &TrustFile) -> f64 {
    let bundles = if bundle.len() > 64 * 1024 { BUNDLES / 10 } else { BUNDLES };
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..bundles).for_each(|_| verify(bundle, file));
            start.elapsed().as_secs_f64() / bundles as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// The peak memory of this process after it has read the files and, perhaps, has verified the
/// bundle.
fn peak(verifies: bool, bundle: &Path, file: &Path) -> u64 {
    let bundle = std::fs::read(bundle).unwrap();
    let file = parsed(&std::fs::read_to_string(file).unwrap());
    if verifies {
        verify(&bundle, &file);
    }
    black_box(bundle);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The median of some processes: the kernel counts pages of the program, too.
fn peak_in_own_process(task: &str, paths: &[PathBuf; 2]) -> u64 {
    let program = std::env::current_exe().unwrap();
    let run = || {
        let output = Command::new(&program).arg(task).args(paths).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<u64>().unwrap()
    };
    let mut peaks: Vec<u64> = (0..ROUNDS).map(|_| run()).collect();
    peaks.sort_unstable();
    peaks[ROUNDS / 2]
}

fn table(figures: &[Value]) -> String {
    let rows: String = figures
        .iter()
        .map(|figure| {
            format!(
                "| {}, {} | {:.0} µs | {:.2} MB |\n",
                figure["keys"].as_str().unwrap(),
                figure["payload"].as_str().unwrap(),
                figure["time_s"].as_f64().unwrap() * 1e6,
                figure["peak_bytes"].as_f64().unwrap() / 1e6,
            )
        })
        .collect();
    format!(
        "| signed request: two signatures, payload | to verify | memory |\n|---|---|---|\n{rows}"
    )
}
