//! Streams over an uplink that is too slow for them: memory is bounded, dropped data is
//! reported, and other messages are not delayed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::connector::{BASE, start_connector_at};
use crate::support::openmetrics::Scrape;
use crate::support::proxy::Line;
use crate::support::scene::{find, payload, workload};
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, Client, DEADLINE, Process, Proxy, free_port};

/// The maximum memory of the connector, in bytes: 16 MiB of buffered stream data, 16 MiB of
/// messages of at most 128 KiB in flight to the broker, and the program itself.
const MAX_MEMORY: u64 = 64 * 1024 * 1024;

/// The maximum if subscriptions receive large states, in bytes: 64 MiB of states, and the
/// largest one.
const MAX_MEMORY_OF_STATES: u64 = MAX_MEMORY + 64 * 1024 * 1024;

/// A connector that reaches the broker through a proxy.
struct Uplink {
    broker: Broker,
    proxy: Proxy,
    vehicle: Vehicle,
    connector: Process,
    /// The port on which the connector serves its metrics.
    health: u16,
}

impl Uplink {
    async fn start() -> Self {
        let broker = Broker::with(&["persistence false", "max_queued_messages 0"]).await;
        let proxy = Proxy::start(broker.port()).await;
        let vehicle = Vehicle::start().await;
        let health = free_port();
        let address = format!("127.0.0.1:{health}");
        let settings = [("LOG_LEVEL", "info"), ("HEALTH_ADDR", &address)];
        let connector = start_connector_at(proxy.port(), vehicle.control_interface(), &settings);
        connector.line("ready for requests").await;
        connector.line("the link to Ankaios is up").await;
        vehicle.wait_for_guard(&settings).await;
        Self { broker, proxy, vehicle, connector, health }
    }

    async fn request(&self, operation: &str, payload: impl AsRef<[u8]>) -> Value {
        self.broker.request(&format!("{BASE}/{operation}"), payload, &[]).await.json()
    }

    async fn client(&self, filter: &str) -> Client {
        Client::connect(self.broker.port(), &format!("{BASE}/{filter}")).await
    }

    /// The peak memory of the connector, in bytes.
    fn peak_memory(&self) -> u64 {
        self.connector.peak_memory()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_uplink_drops_log_entries_but_neither_memory_grows_nor_the_end_is_lost() {
    const LINES: usize = 300_000;
    let uplink = Uplink::start().await;
    // On a busy machine, the connector may get no CPU time for as long as an agent waits. Then the
    // agent ends the log.
    uplink.vehicle.set_write_limit(DEADLINE);
    uplink.request("manifest/apply", workload("talker", "localhost/talker")).await;
    let wait = r#"{"workload_name": "talker", "state": "RUNNING"}"#;
    uplink.request("workload/wait", wait).await;
    let mut logs = uplink.client("logs/l").await;
    let request = r#"{"id": "l", "workloads": ["talker"], "follow": true}"#;
    uplink.request("logs/subscribe", request).await;

    uplink.proxy.set(Line::Silent);
    let filling = "x".repeat(60);
    for first in (0..LINES).step_by(1000) {
        let lines = (first..first + 1000).map(|number| format!("{number} {filling}"));
        uplink.vehicle.log("talker", lines).await.unwrap();
    }
    uplink.vehicle.finish("talker").unwrap();
    let memory = uplink.peak_memory();
    crate::support::say(&format!("stalled uplink: peak of {} MiB\n", memory >> 20));
    assert!(memory < MAX_MEMORY, "{memory} bytes");

    uplink.proxy.set(Line::Open);
    let (mut received, mut dropped, mut last) = (0, 0, None);
    loop {
        let message = payload(&logs.next_within(2 * DEADLINE).await.unwrap());
        for entry in message["entries"].as_array().into_iter().flatten() {
            let line = entry["message"].as_str().unwrap();
            let number: usize = line.split(' ').next().unwrap().parse().unwrap();
            assert!(Some(number) > last, "{number} after {last:?}");
            (received, last) = (received + 1, Some(number));
        }
        dropped += message["dropped"].as_u64().unwrap_or_default();
        if !message["stopped"].is_null() {
            break;
        }
    }
    assert_eq!(last, Some(LINES - 1));
    assert!(dropped > 0);
    assert_eq!(received + dropped as usize, LINES);
    let counted = Scrape::of(uplink.health).await;
    let counted = counted.get("fleet_connector_ankaios_dropped_log_entries_total");
    assert_eq!(counted, dropped as f64);
    assert!(uplink.peak_memory() < MAX_MEMORY);
}

/// The log is interrupted while some of its lines wait in the connector. The time from which it
/// is requested again depends on the arrival of the lines, not on their publication.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_after_an_interruption_while_lines_wait_for_the_uplink() {
    let uplink = Uplink::start().await;
    uplink.vehicle.set_write_limit(DEADLINE);
    uplink.request("manifest/apply", workload("talker", "localhost/talker")).await;
    let wait = r#"{"workload_name": "talker", "state": "RUNNING"}"#;
    uplink.request("workload/wait", wait).await;
    let mut logs = uplink.client("logs/l").await;
    let request = r#"{"id": "l", "workloads": ["talker"], "follow": true, "tail": 0}"#;
    uplink.request("logs/subscribe", request).await;

    uplink.proxy.set(Line::Silent);
    // More than the connection to the broker buffers.
    let filling = "x".repeat(1000);
    for first in (0..30_000).step_by(1000) {
        let lines = (first..first + 1000).map(|number| format!("{number} {filling}"));
        uplink.vehicle.log("talker", lines).await.unwrap();
    }
    uplink.vehicle.kill_agent().await.unwrap();
    uplink.vehicle.log("talker", ["without an agent"]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    uplink.proxy.set(Line::Open);
    uplink.vehicle.start_agent().await.unwrap();
    let is_awaited = |message: &Value| {
        let entries = message["entries"].as_array().into_iter().flatten();
        entries.into_iter().any(|entry| entry["message"] == json!("without an agent"))
    };
    find(&mut logs, is_awaited).await;
}

#[tokio::test]
async fn dropped_events_are_followed_by_the_whole_state() {
    let uplink = Uplink::start().await;
    let mut events = uplink.client("events/e").await;
    let request = r#"{"id": "e", "field_masks": ["workloadStates"]}"#;
    uplink.request("events/subscribe", request).await;
    uplink.proxy.set(Line::Silent);
    let instance = uplink.vehicle.instance("fleetconnector").unwrap();
    for number in 0..5000 {
        let mut state = vehicle_simulator::execution::running();
        state.additional_info = Some(number.to_string());
        uplink.vehicle.set_execution_state(&instance, state);
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    uplink.proxy.set(Line::Open);
    let resynced = find(&mut events, |event| event["resynced"] == json!(true)).await;
    let states = &resynced["complete_state"]["workload_states"]["agent_A"]["fleetconnector"];
    assert_eq!(states[&instance.workload_id]["additional_info"], json!("4999"), "{resynced}");
    let metrics = Scrape::of(uplink.health).await;
    assert!(metrics.get("fleet_connector_ankaios_dropped_events_total") > 0.0);
    // After that, events continue.
    let state = vehicle_simulator::execution::failed(1);
    uplink.vehicle.set_execution_state(&instance, state);
    find(&mut events, |event| event["resynced"].is_null()).await;
}

/// After a restart of Ankaios, all subscriptions receive the whole state at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn large_states_for_many_subscriptions_stay_within_the_memory_limit() {
    const SUBSCRIPTIONS: usize = 100;
    const CONFIGS: usize = 20;
    let uplink = Uplink::start().await;
    // A state of 1 MB.
    let filling = "x".repeat(50_000);
    for number in 0..CONFIGS {
        let config = format!("apiVersion: v1\nconfigs:\n  c{number}: {filling}\n");
        uplink.request("manifest/apply", config).await;
    }
    let mut events = uplink.client("events/+").await;
    for number in 0..SUBSCRIPTIONS {
        let request =
            json!({"id": format!("s{number}"), "field_masks": ["desiredState.configs.*"]});
        uplink.request("events/subscribe", request.to_string()).await;
    }
    let before = uplink.connector.peak_memory();
    uplink.proxy.set(Line::Silent);
    uplink.vehicle.restart_agent(Duration::from_millis(50)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    uplink.proxy.set(Line::Open);
    let mut resynced = BTreeSet::new();
    while resynced.len() < SUBSCRIPTIONS {
        let message = events.next_within(2 * DEADLINE).await.unwrap();
        if payload(&message)["resynced"] == json!(true) {
            resynced.insert(message.topic);
        }
    }
    let memory = uplink.connector.peak_memory();
    let mib = |bytes: u64| bytes >> 20;
    crate::support::say(&format!(
        "{SUBSCRIPTIONS} states: peak of {} MiB, {} before\n",
        mib(memory),
        mib(before)
    ));
    assert!(memory < MAX_MEMORY_OF_STATES, "{memory} bytes");
}
