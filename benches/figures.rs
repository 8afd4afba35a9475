//! Measures size, memory and start time of the shipped image, and prints the table of the
//! README. `make figures` runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stdout, reason = "the table is the purpose of this program")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::connector::{BASE, start_connector_binary};
use support::podman::{Podman, image_context};
use support::vehicle::Vehicle;
use support::{Broker, Process};

/// How often the start is measured; the table shows the median.
const STARTS: usize = 11;

/// The number of requests before the memory is measured again.
const REQUESTS: usize = 100;

#[tokio::main]
async fn main() {
    let podman = Podman::detect().unwrap();
    let image = podman.build_connector_image();
    let size = podman.run(["image", "inspect", "--format={{.Size}}", &image]);
    let binary = image_context().join("out/fleet-connector");

    let broker = Broker::start().await;
    let vehicle = Vehicle::start().await;
    let start = || {
        let settings = [("LOG_LEVEL", "info")];
        start_connector_binary(&binary, broker.port(), vehicle.control_interface(), &settings)
    };

    let (idle, busy) = memory(&broker, start()).await;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(start_to_first_reply(&broker, start).await);
    }
    times.sort_unstable();

    println!("| what | figure |");
    println!("|---|---|");
    println!("| image | {:.2} MB |", megabytes(size.parse().unwrap()));
    println!("| binary | {:.2} MB |", megabytes(binary.metadata().unwrap().len()));
    println!("| memory, idle (RSS) | {:.2} MB |", megabytes(idle));
    println!("| memory after {REQUESTS} requests (RSS) | {:.2} MB |", megabytes(busy));
    println!("| start of the process to first reply, median | {:.1?} |", times[STARTS / 2]);
}

/// The resident memory after the first reply, and after many requests.
async fn memory(broker: &Broker, mut connector: Process) -> (u64, u64) {
    let state = format!("{BASE}/state");
    first_reply(broker, &state).await;
    let idle = resident(&connector);
    for _ in 0..REQUESTS {
        broker.request(&state, "[]", &[]).await;
    }
    let busy = resident(&connector);
    connector.terminate().await;
    (idle, busy)
}

/// The time from the start of the process to the reply to a request that the broker has queued.
async fn start_to_first_reply(broker: &Broker, start: impl Fn() -> Process) -> Duration {
    let mut replies = broker.subscribe(&format!("{BASE}/state/resp"), &[]).await;
    broker.publish(&format!("{BASE}/state/req"), "[]", &[]).await;
    let begin = Instant::now();
    let mut connector = start();
    replies.next().await;
    let time = begin.elapsed();
    connector.terminate().await;
    time
}

/// Waits until a connector that has just been started replies.
async fn first_reply(broker: &Broker, base: &str) {
    let patience = Duration::from_secs(1);
    support::eventually("the connector answers", support::DEADLINE, async || {
        broker.try_request(base, "[]", patience, &[]).await.ok()
    })
    .await;
}

/// The resident memory of a process in bytes.
fn resident(process: &Process) -> u64 {
    let status = Path::new("/proc").join(process.pid().to_string()).join("status");
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}

#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
