//! Compares event subscriptions with the floor: the time that FIFOs and broker need to deliver
//! an event without a connector, measured alternately with bare clients on the same machine.
//!
//! `make bench` runs it. It prints a table and writes the same figures as JSON to
//! `target/bench/streams.json`. The path of a binary as argument measures that binary instead
//! of the shipped one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the purpose of this program"
)]
#![allow(clippy::cast_precision_loss, reason = "figures are shown with few digits")]

#[allow(dead_code, reason = "it also measures requests")]
#[path = "speed/fifo.rs"]
mod fifo;
#[path = "speed/mqtt.rs"]
mod mqtt;
#[allow(dead_code, reason = "it also measures requests")]
#[path = "speed/round.rs"]
mod round;
#[path = "speed/scene.rs"]
mod scene;
#[path = "../tests/support/mod.rs"]
mod support;
#[allow(dead_code, reason = "it also measures threads")]
#[path = "speed/usage.rs"]
mod usage;

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fifo::Fifos;
use mqtt::Connection;
use round::{Round, median};
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use scene::{Connector, Scene, shipped_binary};
use serde_json::{Value, json};
use support::connector::BASE;
use support::vehicle::Vehicle;
use usage::{Cpu, machine, memory};
use vehicle_simulator::{CONNECTOR_WORKLOAD, execution};

/// The number of rounds, and of events in each. There are many short rounds, so that a
/// disturbance of the machine affects floor and connector alike.
const ROUNDS: usize = 40;
const EVENTS: usize = 50;

/// For the rate: the number of events in flight at the same time, and of all events.
const IN_FLIGHT: usize = 64;
const MANY: usize = 20_000;

/// The number of subscriptions added to measure the memory of one.
const SUBSCRIPTIONS: usize = 200;

const MASK: &str = "workloadStates";

fn main() {
    let given = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let binary = given.map_or_else(shipped_binary, PathBuf::from);
    let scene = Scene::start();
    let port = scene.broker.port();
    let mut fifos = Fifos::open(scene.bare_vehicle.control_interface());
    fifos.subscribe(&[MASK]);
    let mut bare = Connection::open(port, "bare", "floor/event");
    let mut operator = Connection::open(port, "operator", &format!("{BASE}/events/#"));
    let mut status = Connection::open(port, "status", &format!("{BASE}/connector/status"));
    let connector = Connector::start(&binary, port, scene.vehicle.control_interface());
    while !is_connected(&publish(&mut status)) {}
    subscribe(&mut operator, "bench");

    let event = trigger_and_take(&scene.vehicle, &mut operator, 0);
    let mut numbers = 1..;
    let (mut by_fifo, mut by_mqtt, mut by_connector) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        by_fifo.push(measure(|| {
            trigger(&scene.bare_vehicle, numbers.next().unwrap());
            fifos.next_frame()
        }));
        by_mqtt.push(measure(|| {
            bare.publish("floor/event", event.clone(), PublishProperties::default());
            bare.send();
            publish(&mut bare).payload.len()
        }));
        by_connector.push(measure(|| {
            trigger_and_take(&scene.vehicle, &mut operator, numbers.next().unwrap()).len()
        }));
    }

    let mut cpu = Cpu::of_process(connector.pid());
    let idle = cpu.time();
    let rate = rate(&scene.vehicle, &mut operator);
    let cpu = cpu.time() - idle;

    let before = memory(connector.pid(), "VmRSS");
    for number in 0..SUBSCRIPTIONS {
        subscribe(&mut operator, &format!("s{number}"));
    }
    let per_subscription =
        memory(connector.pid(), "VmRSS").saturating_sub(before) as f64 / SUBSCRIPTIONS as f64;

    let medians = |rounds: &[Round]| rounds.iter().map(|one| one.quantile(0.5)).collect::<Vec<_>>();
    let (fifo, mqtt, all) = (medians(&by_fifo), medians(&by_mqtt), medians(&by_connector));
    let floors: Vec<_> = fifo.iter().zip(&mqtt).map(|(fifo, mqtt)| fifo + mqtt).collect();
    let ratio = median(floors.iter().zip(&all).map(|(floor, one)| one / floor));
    let latencies = by_connector.iter().flat_map(|round| round.latencies.clone()).collect();
    let figures = json!({
        "machine": machine(),
        "binary": binary,
        "event_bytes": event.len(),
        "floor_fifo_s": median(fifo),
        "floor_mqtt_s": median(mqtt),
        "floor_s": median(floors),
        "median_s": median(all),
        "ratio": ratio,
        "p99_s": Round { latencies, ..Round::default() }.quantile(0.99),
        "events_per_s": rate,
        "cpu_s_per_1000_events": cpu.as_secs_f64() * 1e3 / MANY as f64,
        "memory_per_subscription_bytes": per_subscription,
        "memory_peak_bytes": memory(connector.pid(), "VmHWM"),
    });
    print(&figures);
    println!("\nas JSON: {}", write(&figures).display());
}

/// Measures the latency of repeated events; `event` returns the size of the message.
fn measure(mut event: impl FnMut() -> usize) -> Round {
    let mut round = Round::default();
    let begin = Instant::now();
    for _ in 0..EVENTS {
        let time = Instant::now();
        let size = event();
        round.add(time.elapsed(), size);
    }
    round.took = begin.elapsed();
    round
}

/// Changes the state of a workload, which causes one event.
fn trigger(vehicle: &Vehicle, number: usize) {
    let instance = vehicle.instance(CONNECTOR_WORKLOAD).unwrap();
    let mut state = execution::running();
    state.additional_info = Some(number.to_string());
    vehicle.set_execution_state(&instance, state);
}

fn trigger_and_take(vehicle: &Vehicle, operator: &mut Connection, number: usize) -> Bytes {
    trigger(vehicle, number);
    publish(operator).payload
}

/// The rate at which events reach the operator, in events per second, with a constant number in
/// flight.
fn rate(vehicle: &Vehicle, operator: &mut Connection) -> f64 {
    let begin = Instant::now();
    (0..IN_FLIGHT).for_each(|number| trigger(vehicle, number));
    for received in 0..MANY {
        let event: Value = serde_json::from_slice(&publish(operator).payload).unwrap();
        assert!(event["resynced"].is_null(), "events were lost");
        if received + IN_FLIGHT < MANY {
            trigger(vehicle, received + IN_FLIGHT);
        }
    }
    MANY as f64 / begin.elapsed().as_secs_f64()
}

/// Subscribes to events and waits until the subscription is active.
fn subscribe(operator: &mut Connection, id: &str) {
    let request = json!({"id": id, "field_masks": [MASK]}).to_string();
    let topic = format!("{BASE}/events/subscribe/req");
    operator.publish(&topic, request.into(), PublishProperties::default());
    operator.send();
    let reply = format!("{BASE}/events/subscribe/resp");
    while publish(operator).topic != reply {}
    // The subscription starts only after its reply.
    sleep(Duration::from_millis(5));
}

/// Waits for the next message and acknowledges it.
fn publish(connection: &mut Connection) -> Publish {
    loop {
        match connection.next().expect("the broker has closed the connection") {
            Packet::Publish(publish) => {
                connection.acknowledge(publish.pkid);
                connection.send();
                return publish;
            }
            Packet::PubAck(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn is_connected(status: &Publish) -> bool {
    let status: Value = serde_json::from_slice(&status.payload).unwrap();
    status["status"] == "online" && status["ankaios"] == "connected"
}

fn print(figures: &Value) {
    let number = |name: &str| figures[name].as_f64().unwrap();
    let micros = |name: &str| number(name) * 1e6;
    println!("{}\n", figures["machine"].as_str().unwrap());
    println!("| events of {} bytes | |\n|---|---|", figures["event_bytes"]);
    println!(
        "| floor: FIFO + MQTT | {:.0} + {:.0} = {:.0} µs |",
        micros("floor_fifo_s"),
        micros("floor_mqtt_s"),
        micros("floor_s")
    );
    println!("| connector, median | {:.0} µs |", micros("median_s"));
    println!("| ratio | **{:.2}** |", number("ratio"));
    println!("| p99 | {:.0} µs |", micros("p99_s"));
    println!("| events/s, {IN_FLIGHT} under way | {:.0} |", number("events_per_s"));
    let cpu = number("cpu_s_per_1000_events") * 1e3;
    println!("| CPU of the connector per 1,000 events | {cpu:.0} ms |");
    let kibibytes = number("memory_per_subscription_bytes") / 1024.0;
    println!("| memory per subscription | {kibibytes:.1} KiB |");
    println!("| peak memory | {:.1} MiB |", number("memory_peak_bytes") / f64::from(1 << 20));
}

fn write(figures: &Value) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("streams.json");
    std::fs::write(&path, serde_json::to_string_pretty(figures).unwrap()).unwrap();
    path
}
