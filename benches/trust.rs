//! What it costs to verify a signed request: the time, and the peak of the memory.
//!
//! `make bench` runs it. It prints a table and writes the same figures as JSON to
//! `target/bench/trust.json`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stdout, reason = "the table is the purpose of this program")]
#![allow(clippy::cast_precision_loss, reason = "figures are shown with few digits")]

use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use fleet_trust::testing::{Signer, bundle, trust_file};
use fleet_trust::{Purpose, Role, Statement, TrustFile, Vehicles, open};
use serde_json::{Value, json};

/// The number of rounds, and of bundles in each. The table shows the median of the rounds.
const ROUNDS: usize = 21;
const BUNDLES: usize = 500;

/// The payloads: a usual manifest, and the largest one that the default of `MAX_PAYLOAD_SIZE` allows.
const SIZES: [(&str, usize); 2] = [("1 KiB", 1024), ("700 KiB", 700 * 1024)];

/// Two release keys.
type Keys = [Signer; 2];

/// Makes two keys.
type MakeKeys = fn() -> Keys;

const KINDS: [(&str, MakeKeys); 2] = [
    ("ed25519 and ed25519", || [Signer::ed25519(1), Signer::ed25519(2)]),
    ("ed25519 and ecdsa", || [Signer::ed25519(1), Signer::ecdsa_p256()]),
];

/// The argument with which the program verifies one bundle and prints its peak memory.
const ONE: &str = "verify-one";

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != ONE).skip(1);
    if let (Some(kind), Some(size)) = (arguments.next(), arguments.next()) {
        println!("{}", peak_of_one(kind.parse().unwrap(), size.parse().unwrap()));
        return;
    }
    let mut figures = Vec::new();
    for (index, (kind, keys)) in KINDS.into_iter().enumerate() {
        for (name, size) in SIZES {
            let baseline = peak_in_own_process(index, 0);
            let peak = peak_in_own_process(index, size);
            figures.push(json!({
                "keys": kind,
                "payload": name,
                "time_s": time(&keys(), size),
                "peak_bytes": peak.saturating_sub(baseline),
            }));
        }
    }
    println!("{}", table(&figures));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench/trust.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serde_json::to_vec_pretty(&figures).unwrap()).unwrap();
}

/// A bundle with both signatures, and the trust file for it.
fn signed(keys: &Keys, size: usize) -> (Vec<u8>, TrustFile) {
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
    let file = TrustFile::parse(
        file.as_bytes(),
        &["manifest/apply", "manifest/delete", "manifest/rollback", "state/update"],
    )
    .unwrap();
    (bundle(&statement, &vec![b'x'; size], &keys), file)
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
fn time(keys: &Keys, size: usize) -> f64 {
    let (bundle, file) = signed(keys, size);
    let bundles = if size > 64 * 1024 { BUNDLES / 10 } else { BUNDLES };
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..bundles).for_each(|_| verify(&bundle, &file));
            start.elapsed().as_secs_f64() / bundles as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// The peak memory of this process after it has made a bundle and, unless the size is 0, has
/// verified it. The bundle comes from a process of its own in reality, so it is a part of the peak.
fn peak_of_one(kind: usize, size: usize) -> u64 {
    let (bundle, file) = signed(&KINDS[kind].1(), 16);
    if size > 0 {
        let (large, file) = if size > 16 { signed(&KINDS[kind].1(), size) } else { (bundle, file) };
        verify(&large, &file);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn peak_in_own_process(kind: usize, size: usize) -> u64 {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args([ONE, &kind.to_string(), &size.to_string()]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().parse().unwrap()
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
