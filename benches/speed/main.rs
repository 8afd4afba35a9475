//! Compares the connector with the floor: the time that FIFOs and broker need without a
//! connector, measured alternately with bare clients on the same machine.
//!
//! `make bench` runs it. It prints tables and writes the same figures as JSON to
//! `target/bench/speed.json`. The path of a binary as argument measures that binary instead of
//! the shipped one.
//!
//! | file | contents |
//! |---|---|
//! | `scene` | broker, simulated vehicles, connector |
//! | `fifo`, `echo` | the two parts of the floor; combined, the bridge |
//! | `requester`, `mqtt` | the measuring client |
//! | `round`, `usage` | latencies; processor time and memory |
//! | `states` | the states for large replies |
//! | `report` | tables and JSON |

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the tables are the purpose of this program"
)]
#![allow(clippy::cast_precision_loss, reason = "figures are shown with few digits")]

mod echo;
mod fifo;
mod mqtt;
mod report;
mod requester;
mod round;
mod scene;
mod states;
#[path = "../../tests/support/mod.rs"]
mod support;
mod usage;

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use echo::Echo;
use fifo::Fifos;
use report::{Idle, LargeReply, Load, Report};
use requester::Requester;
use round::{Limit, Round};
use scene::{Connector, Scene};
use usage::{Cpu, machine, memory};

/// The topic prefixes of the connector, the echo and the bridge, all of the same length.
const CONNECTOR: &str = support::connector::BASE;
const ECHO: &str = "vehicle/0";
const BRIDGE: &str = "vehicle/2";

/// The name of the measuring thread.
const CLIENT: &str = "client";

/// The numbers of requests in flight.
const IN_FLIGHT: [usize; 3] = [1, 16, 64];

/// The request of the rounds with small replies.
const SMALL: [&str; 1] = ["workloadStates"];

/// The number of rounds, and the time of each client in a round. There are many short rounds,
/// so that a disturbance of the machine affects floor and connector alike.
const ROUNDS: usize = 40;
const SLICE: Duration = Duration::from_millis(100);

/// The numbers of workloads in the state, each of which adds about 1 KB to the reply, and the
/// requests per round and client.
const LARGE: [(usize, usize); 4] = [(1, 100), (100, 30), (1_000, 6), (10_000, 3)];
const LARGE_ROUNDS: usize = 5;

/// How long the idle connector is measured.
const IDLE: Duration = Duration::from_secs(10);

fn main() {
    // A named thread, so that its processor time can be measured.
    thread::Builder::new().name(CLIENT.into()).spawn(run).unwrap().join().unwrap();
}

fn run() {
    let argument = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let binary = argument.map_or_else(scene::shipped_binary, PathBuf::from);
    let mut bench = Bench::start(&binary);
    let loads = bench.loads();
    let after_small_replies = bench.memory("VmRSS");
    let large_replies = bench.large_replies();
    let peak = bench.memory("VmHWM");
    let idle = bench.idle();
    let report = Report {
        machine: machine(),
        binary,
        broker_settings: scene::BROKER_SETTINGS.to_vec(),
        loads,
        large_replies,
        after_small_replies,
        peak,
        idle,
    };
    println!("{}", report.markdown());
    let path = report.write_json();
    eprintln!("written to {}", path.display());
}

/// The clients, and what they measure.
struct Bench {
    scene: Scene,
    connector: Connector,
    echo: Echo,
    fifos: Fifos,
    /// An echo that requests the state over the FIFOs before it replies: both parts of the
    /// floor, one after the other, in one process. No connector can be faster.
    bridge: Echo,
    /// Sends requests to the echo, for the MQTT part of the floor.
    bare: Requester,
    /// Sends requests to the bridge.
    bridged: Requester,
    /// Sends requests to the connector.
    requester: Requester,
}

impl Bench {
    fn start(binary: &std::path::Path) -> Self {
        let scene = Scene::start();
        let port = scene.broker.port();
        let connector = Connector::start(binary, port, scene.vehicle.control_interface());
        requester::wait_until_connected(port, CONNECTOR);
        let mut bridged_fifos = Fifos::open(scene.bridged_vehicle.control_interface());
        bridged_fifos.ask_for(&SMALL);
        Self {
            connector,
            echo: Echo::start(port, ECHO, || {}),
            fifos: Fifos::open(scene.bare_vehicle.control_interface()),
            bridge: Echo::start(port, BRIDGE, move || bridged_fifos.ask()),
            bare: Requester::new(port, ECHO),
            bridged: Requester::new(port, BRIDGE),
            requester: Requester::new(port, CONNECTOR),
            scene,
        }
    }

    /// Sets the field masks of all further requests. The echoes reply with the payload of the
    /// connector's reply.
    fn ask_for(&mut self, masks: &[&str]) {
        self.fifos.ask_for(masks);
        let masks = serde_json::to_string(masks).unwrap();
        self.bare.ask_for(&masks);
        self.requester.ask_for(&masks);
        self.bridged.ask_for(&masks);
        let reply = self.requester.ask();
        self.bridge.reply_with(reply.clone());
        self.echo.reply_with(reply);
    }

    /// Measures small replies with each number of requests in flight.
    fn loads(&mut self) -> Vec<Load> {
        self.ask_for(&SMALL);
        let mut loads: Vec<_> = IN_FLIGHT.into_iter().map(Load::new).collect();
        for round in 0..=ROUNDS {
            for load in &mut loads {
                let limit = Limit::Time(SLICE);
                let fifo = self.fifos.run(load.in_flight, limit);
                let mqtt = self.bare.run(load.in_flight, limit);
                let mut meters = self.meters();
                let before = meters.each_mut().map(Cpu::time);
                let connector = self.requester.run(load.in_flight, limit);
                let after = meters.each_mut().map(Cpu::time);
                // The bridge serves one request at a time.
                let bridge = (load.in_flight == 1).then(|| self.bridged.run(1, limit));
                // The first round is a warm-up.
                if round > 0 {
                    load.add(fifo, mqtt, connector, std::array::from_fn(|i| after[i] - before[i]));
                    load.add_bridge(bridge);
                }
            }
        }
        loads
    }

    /// Meters of processor time, in the order of [`report::PROCESSES`].
    fn meters(&self) -> [Cpu; 4] {
        [
            Cpu::of_process(self.connector.pid()),
            Cpu::of_process(self.scene.broker.process().pid()),
            Cpu::of_threads("simulator"),
            Cpu::of_threads(CLIENT),
        ]
    }

    fn large_replies(&mut self) -> Vec<LargeReply> {
        let mut replies: Vec<_> = LARGE.iter().map(|_| LargeReply::default()).collect();
        let mut cpu = Cpu::of_process(self.connector.pid());
        for _ in 0..LARGE_ROUNDS {
            for ((workloads, requests), reply) in LARGE.into_iter().zip(&mut replies) {
                let state = states::state(workloads);
                self.scene.bare_vehicle.set_state(state.clone());
                self.scene.vehicle.set_state(state);
                self.ask_for(&[]);
                let limit = Limit::Requests(requests);
                let fifo = self.fifos.run(1, limit);
                let mqtt = self.bare.run(1, limit);
                let before = cpu.time();
                let connector = self.requester.run(1, limit);
                reply.add(fifo, mqtt, connector, cpu.time() - before);
            }
        }
        replies
    }

    fn idle(&self) -> Idle {
        let mut cpu = Cpu::of_process(self.connector.pid());
        // Wait for cleanup work to finish.
        thread::sleep(Duration::from_secs(1));
        let before = cpu.time();
        thread::sleep(IDLE);
        Idle { watched: IDLE, cpu: cpu.time() - before, memory: self.memory("VmRSS") }
    }

    fn memory(&self, figure: &str) -> u64 {
        memory(self.connector.pid(), figure)
    }
}
