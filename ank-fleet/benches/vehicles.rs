//! What `ank-fleet get vehicles` needs for fleets of up to 10,000 vehicles: the time from the start of
//! the process to its end, and the peak of its memory.
//!
//! `make bench` runs it. It prints a table and writes the same figures as JSON to
//! `target/bench/vehicles.json`. The path of a binary as argument measures that binary instead of
//! the shipped one. The broker is a Mosquitto with its default limits: to other connections it
//! delivers only a part of so many retained messages, and does not say so. That all vehicles are
//! listed is asserted.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stdout, reason = "the table is the purpose of this program")]
#![allow(clippy::cast_precision_loss, reason = "figures are shown with few digits")]

#[path = "../tests/commands/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fleet_contract::revision::RevisionStatus;
use fleet_contract::status::{
    AnkaiosLink, Availability, ConnectorStatus, LinkReport, RevisionReport,
};
use rumqttc::v5::mqttbytes::v5::{Connect, Packet, PingReq, Publish};
use rumqttc::v5::mqttbytes::{Error, QoS};
use serde_json::{Value, json};
use support::Broker;
use tempfile::TempDir;

/// The numbers of vehicles.
const FLEETS: [usize; 3] = [100, 1_000, 10_000];

/// How often a fleet is listed. The table shows the medians.
const ROUNDS: usize = 9;

/// The largest part of the output that is read at once.
const PIECE: usize = 16 * 1024;

fn main() {
    let given = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let binary = given.map_or_else(shipped_binary, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut figures = Vec::new();
    for vehicles in FLEETS {
        let broker = runtime.block_on(Broker::quiet(&["persistence false"]));
        retain(broker.port(), vehicles);
        let rounds: Vec<Round> =
            (0..ROUNDS).map(|_| list(&binary, broker.port(), vehicles)).collect();
        let median = |figure: fn(&Round) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all[ROUNDS / 2]
        };
        figures.push(json!({
            "vehicles": vehicles,
            "time_s": median(|round| round.time.as_secs_f64()),
            "peak_bytes": median(|round| round.peak as f64),
        }));
    }
    println!("{}", table(&figures));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench/vehicles.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serde_json::to_vec_pretty(&figures).unwrap()).unwrap();
}

/// Builds the static binary that is shipped.
fn shipped_binary() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ank-fleet");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/build-static.sh");
    let status = Command::new(script).arg(&folder).arg("ank-fleet").status().unwrap();
    assert!(status.success(), "ank-fleet does not build");
    folder.join("ank-fleet")
}

fn vin(number: usize) -> String {
    format!("WDB{number:014}")
}

/// The status of a vehicle, with what operators usually see.
fn status(number: usize) -> ConnectorStatus {
    let region = if number.is_multiple_of(2) { "eu" } else { "us" };
    ConnectorStatus {
        status: Availability::Online,
        version: "0.1.0".to_owned(),
        since: Some("2026-01-31T05:00:00Z".to_owned()),
        replica: None,
        fleet: None,
        labels: format!("model=x{},region={region}", number % 7).parse().unwrap(),
        link: Some(LinkReport { ankaios: AnkaiosLink::Connected, reason: None }),
        revision: Some(RevisionReport {
            revision: 7,
            release: Some("2026.1".to_owned()),
            rollout: Some(RevisionStatus::Succeeded),
            restore: None,
            restore_reason: None,
        }),
        trust: None,
        degraded: Vec::new(),
    }
}

/// Lets the broker retain the statuses of so many vehicles.
fn retain(port: u16, vehicles: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
    let mut packets = BytesMut::new();
    let client_id = "vehicles".to_owned();
    let connect = Connect { keep_alive: 0, client_id, clean_start: true, properties: None };
    Packet::Connect(connect, None, None).write(&mut packets, None).unwrap();
    for number in 0..vehicles {
        let topic = format!("vehicle/{}/connector/status", vin(number));
        let mut publish = Publish::new(topic, QoS::AtMostOnce, status(number).to_payload(), None);
        publish.retain = true;
        publish.write(&mut packets).unwrap();
    }
    // It is answered when all before it is done.
    Packet::PingReq(PingReq).write(&mut packets, None).unwrap();
    stream.write_all(&packets).unwrap();
    let (mut incoming, mut piece) = (BytesMut::new(), vec![0; PIECE]);
    loop {
        match Packet::read(&mut incoming, None) {
            Ok(Packet::PingResp(_)) => return,
            Ok(_) => {}
            Err(Error::InsufficientBytes(_)) => {
                let count = stream.read(&mut piece).unwrap();
                assert!(count > 0, "the broker has closed the connection");
                incoming.extend_from_slice(&piece[..count]);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a process has needed.
struct Round {
    time: Duration,
    peak: u64,
}

/// Lists the vehicles, which must be complete.
fn list(binary: &Path, port: u16, vehicles: usize) -> Round {
    let folder = TempDir::new().unwrap();
    let errors = folder.path().join("stderr");
    let start = Instant::now();
    let mut child = Command::new(binary)
        .args(["get", "vehicles"])
        .env_clear()
        .env("HOME", folder.path())
        .env("MQTT_BROKER_ADDR", "127.0.0.1")
        .env("MQTT_BROKER_PORT", port.to_string())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let (mut text, mut piece, mut peak) = (Vec::new(), vec![0; PIECE], 0);
    loop {
        let count = output.read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        text.extend_from_slice(&piece[..count]);
        // The table is written when everything is known, and before the connection is closed.
        peak = peak.max(peak_memory(child.id()));
    }
    let status = child.wait().unwrap();
    let time = start.elapsed();
    let errors = std::fs::read_to_string(errors).unwrap();
    assert!(status.success(), "{errors}");
    let text = String::from_utf8(text).unwrap();
    let listed: Vec<&str> =
        text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let all: Vec<String> = (0..vehicles).map(vin).collect();
    assert!(listed == all, "{} of {vehicles} vehicles are listed: {errors}", listed.len());
    Round { time, peak }
}

/// The peak memory of a process, in bytes; 0 if it has ended.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

fn table(figures: &[Value]) -> String {
    let rows: String = figures
        .iter()
        .map(|figure| {
            format!(
                "| {} | {:.2} s | {:.1} MB |\n",
                figure["vehicles"],
                figure["time_s"].as_f64().unwrap(),
                figure["peak_bytes"].as_f64().unwrap() / 1e6,
            )
        })
        .collect();
    format!("| vehicles | `ank-fleet get vehicles` | memory, peak |\n|---|---|---|\n{rows}")
}
