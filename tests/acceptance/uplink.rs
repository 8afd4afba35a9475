//! Nothing is lost between operators and vehicle: a real Mosquitto that restarts, an uplink
//! that breaks in every way, and a connector that is killed.

use std::ops::Range;
use std::time::{Duration, Instant};

use ankaios_model::proto::ank_base::config_item::ConfigItemEnum;
use ankaios_model::proto::ank_base::{ConfigItem, Request};
use futures_util::future::join_all;
use serde_json::{Value, json};
use vehicle_simulator::Fault;

use crate::support::connector::{BASE, start_connector_at};
use crate::support::proxy::{Direction, Line};
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, DEADLINE, Process, Proxy, Requester};

/// The shortest keep-alive time that is allowed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The longest sum of `MQTT_RECONNECT_SPREAD` and the first three waits of the backoff.
const FIRST_WAITS: Duration = Duration::from_millis(2400);

/// A connector that reaches the broker through a proxy.
struct Uplink {
    broker: Broker,
    proxy: Proxy,
    vehicle: Vehicle,
    connector: Process,
    operator: Requester,
    settings: Vec<(&'static str, &'static str)>,
}

impl Uplink {
    async fn start() -> Self {
        Self::with(Broker::start().await, &[]).await
    }

    async fn with(broker: Broker, settings: &[(&'static str, &'static str)]) -> Self {
        let proxy = Proxy::start(broker.port()).await;
        let vehicle = Vehicle::start().await;
        let settings = [&[("MQTT_KEEP_ALIVE", "5s")], settings].concat();
        let connector = start_connector_at(proxy.port(), vehicle.control_interface(), &settings);
        connector.line("ready for requests").await;
        connector.line("the link to Ankaios is up").await;
        vehicle.wait_for_guard(&settings).await;
        let operator = Requester::connect(broker.port()).await;
        Self { broker, proxy, vehicle, connector, operator, settings }
    }

    fn start_connector(&mut self) {
        let folder = self.vehicle.control_interface();
        self.connector = start_connector_at(self.proxy.port(), folder, &self.settings);
    }

    /// Publishes a request for a small part of the state.
    async fn ask(&self, number: u32) {
        self.operator.request(number, "state", r#"["desiredState.apiVersion"]"#).await;
    }

    /// Publishes such requests, and waits until Ankaios has received them. Each is answered
    /// after a delay. The link may send probes meanwhile.
    async fn ask_slowly(&self, numbers: Range<u32>, delay: impl Fn(u32) -> Duration) {
        let is_probe = |request: &Request| request.request_id.ends_with("-probe");
        self.vehicle.clear_observations();
        for number in numbers.clone() {
            let delayed = Fault::DelayAnswer(delay(number));
            self.vehicle.inject_fault(1, delayed, move |request| !is_probe(request));
            self.ask(number).await;
        }
        loop {
            let received = self.vehicle.request_count();
            let requests = self.vehicle.requests();
            if requests.iter().filter(|request| !is_probe(request)).count() >= numbers.len() {
                return;
            }
            self.vehicle.wait_for_requests(received + 1, DEADLINE).await.unwrap();
        }
    }

    /// The reply to such a request, within the time limit.
    async fn reply(&self, number: u32, limit: Duration) -> Value {
        let answer = self.operator.reply(number, limit).await;
        let answer = answer.unwrap_or_else(|| panic!("no reply to {number} in {limit:?}"));
        serde_json::from_slice(&answer.payload).unwrap()
    }

    /// Asserts that such requests have been answered correctly.
    async fn assert_served(&self, numbers: impl IntoIterator<Item = u32>, limit: Duration) {
        let end = Instant::now() + limit;
        for number in numbers {
            let left = end.saturating_duration_since(Instant::now());
            let reply = self.reply(number, left).await;
            assert_eq!(reply["desired_state"]["api_version"], json!("v1"), "{number}: {reply}");
        }
    }

    /// How often the connector has connected.
    fn connections(&self) -> usize {
        let output = self.connector.output();
        output.iter().filter(|line| line.contains("connected to the MQTT broker")).count()
    }

    /// Adds a config of this size to the state.
    fn add_config(&self, name: &str, size: usize) {
        let mut state = self.vehicle.state();
        let item = ConfigItem { config_item_enum: Some(ConfigItemEnum::String("x".repeat(size))) };
        let desired = state.desired_state.get_or_insert_default();
        desired.configs.get_or_insert_default().configs.insert(name.into(), item);
        self.vehicle.set_state(state);
    }
}

#[tokio::test]
async fn requests_published_while_the_connector_is_down_are_served_afterwards() {
    let mut uplink = Uplink::start().await;
    for (round, kill) in [false, true].into_iter().enumerate() {
        if kill {
            uplink.connector.kill().await;
        } else {
            uplink.connector.terminate().await;
        }
        let numbers = round as u32 * 100..round as u32 * 100 + 100;
        for number in numbers.clone() {
            uplink.ask(number).await;
        }
        uplink.operator.acknowledged(numbers.end - 1).await;
        uplink.start_connector();
        uplink.assert_served(numbers, DEADLINE).await;
    }
}

#[tokio::test]
async fn requests_published_while_the_uplink_is_down_are_served_afterwards() {
    let uplink = Uplink::start().await;
    uplink.proxy.set(Line::Refused);
    uplink.proxy.cut();
    for number in 0..100 {
        uplink.ask(number).await;
    }
    uplink.operator.acknowledged(99).await;
    uplink.connector.line("no connection to the MQTT broker").await;
    uplink.proxy.set(Line::Open);
    uplink.assert_served(0..100, FIRST_WAITS + Duration::from_secs(2)).await;
    assert!(uplink.operator.fates().values().all(|fate| fate.replies.len() == 1));
}

#[tokio::test]
async fn a_connector_that_is_killed_at_any_moment_answers_every_request() {
    let seed = fastrand::u64(..);
    crate::support::say(&format!("seed of the kills: {seed}\n"));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut uplink = Uplink::start().await;
    let mut number = 0;
    for _ in 0..15 {
        // Fewer than 1,000 in total, because Mosquitto would drop the rest.
        for _ in 0..random.u32(1..65) {
            uplink.ask(number).await;
            number += 1;
        }
        tokio::time::sleep(Duration::from_micros(random.u64(0..50_000))).await;
        uplink.connector.kill().await;
        uplink.start_connector();
        // Sometimes it is killed before it has connected.
        if random.bool() {
            uplink.connector.line("ready for requests").await;
        }
    }
    uplink.assert_served(0..number, DEADLINE).await;
}

#[tokio::test]
async fn a_killed_connector_serves_again_within_a_second() {
    let mut uplink = Uplink::start().await;
    for number in 0..5 {
        uplink.connector.kill().await;
        uplink.ask(number).await;
        uplink.operator.acknowledged(number).await;
        uplink.start_connector();
        uplink.assert_served([number], Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_broker_that_restarts_with_its_store_loses_nothing() {
    let mut uplink = Uplink::with(Broker::persistent().await, &[]).await;
    // Requests in flight, requests that wait for the connector, and new ones.
    uplink.ask_slowly(0..50, |_| Duration::from_secs(2)).await;
    uplink.broker.stop().await;
    uplink.connector.line("no connection to the MQTT broker").await;
    uplink.ask(50).await;
    uplink.broker.start_again().await;
    uplink.assert_served(0..=50, DEADLINE).await;

    uplink.connector.kill().await;
    for number in 100..150 {
        uplink.ask(number).await;
    }
    uplink.operator.acknowledged(149).await;
    uplink.broker.stop().await;
    uplink.broker.start_again().await;
    uplink.start_connector();
    uplink.assert_served(100..150, DEADLINE).await;
}

#[tokio::test]
async fn a_broker_that_restarts_without_a_store_receives_the_replies_and_the_status() {
    let mut uplink = Uplink::start().await;
    uplink.ask_slowly(0..50, |_| Duration::from_secs(3)).await;
    uplink.broker.kill().await;
    uplink.connector.line("no connection to the MQTT broker").await;
    uplink.broker.start_again().await;
    let mut status = uplink.broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    status.find("online", |message| message.json()["status"] == json!("online")).await;
    // The subscription of the operator is lost, too, and is renewed.
    uplink.ask(50).await;
    uplink.operator.acknowledged(50).await;
    uplink.assert_served(0..=50, DEADLINE).await;
    assert!(uplink.operator.fates().values().all(|fate| fate.replies.len() == 1));
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_of_a_packet_loses_nothing() {
    let directions = [Direction::ToConnector, Direction::ToBroker];
    join_all(directions.map(|direction| async move {
        let uplink = Uplink::start().await;
        let mut number = 0;
        for bytes in [1, 2, 10, 50, 100, 500] {
            uplink.proxy.cut_after(direction, bytes);
            let first = number;
            while number < first + 10 {
                uplink.ask(number).await;
                number += 1;
            }
            uplink.proxy.was_cut().await;
            // Each short connection makes the next wait longer.
            uplink.assert_served(first..number, DEADLINE).await;
        }
    }))
    .await;
}

#[tokio::test]
async fn a_connection_that_is_cut_while_it_is_established_is_retried() {
    // At the same time, because one connector would wait longer after each cut.
    let cuts = (0..).zip([1, 5, 40, 90, 130]).map(|(number, bytes)| async move {
        let uplink = Uplink::start().await;
        // CONNECT, SUBSCRIBE and the status in one direction, their acknowledgements in the
        // other.
        let direction = if number % 2 == 0 { Direction::ToBroker } else { Direction::ToConnector };
        uplink.proxy.cut_after(direction, bytes);
        uplink.proxy.cut();
        uplink.ask(number).await;
        uplink.proxy.was_cut().await;
        uplink.assert_served([number], DEADLINE).await;
    });
    join_all(cuts).await;
}

#[tokio::test]
async fn a_silent_line_is_noticed_within_the_keep_alive_time() {
    let uplink = Uplink::start().await;
    uplink.proxy.set(Line::Silent);
    let silent = Instant::now();
    for number in 0..10 {
        uplink.ask(number).await;
    }
    uplink.operator.acknowledged(9).await;
    uplink.connector.line("the broker is silent").await;
    let noticed = silent.elapsed();
    assert!(noticed < KEEP_ALIVE + Duration::from_secs(1), "{noticed:?}");
    // The old connection never recovers.
    uplink.proxy.cut();
    uplink.proxy.set(Line::Open);
    uplink.assert_served(0..10, KEEP_ALIVE + FIRST_WAITS).await;
}

#[tokio::test]
async fn a_silent_line_is_noticed_in_time_while_replies_are_sent() {
    let uplink = Uplink::start().await;
    uplink.ask_slowly(0..40, |number| Duration::from_millis(100) * number).await;
    uplink.proxy.set(Line::Silent);
    let silent = Instant::now();
    uplink.connector.line("the broker is silent").await;
    let noticed = silent.elapsed();
    assert!(noticed < KEEP_ALIVE + Duration::from_secs(1), "{noticed:?}");
    uplink.proxy.cut();
    uplink.proxy.set(Line::Open);
    uplink.assert_served(0..40, KEEP_ALIVE + FIRST_WAITS).await;
}

#[tokio::test]
async fn a_short_silence_does_not_close_the_connection() {
    let uplink = Uplink::start().await;
    for number in 0..3 {
        uplink.proxy.set(Line::Silent);
        uplink.ask(number).await;
        tokio::time::sleep(KEEP_ALIVE / 3).await;
        uplink.proxy.set(Line::Open);
        uplink.assert_served([number], Duration::from_secs(2)).await;
    }
    assert_eq!(uplink.connections(), 1);
}

#[tokio::test]
async fn a_slow_uplink_transfers_a_reply_that_takes_longer_than_the_keep_alive_time() {
    let uplink = Uplink::start().await;
    uplink.add_config("large", 500_000);
    uplink.proxy.set(Line::Slow(50_000));
    uplink.operator.request(1, "state", r#"["desiredState.configs"]"#).await;
    let reply = uplink.reply(1, 2 * DEADLINE).await;
    let large = reply["desired_state"]["configs"]["large"].as_str().unwrap();
    assert_eq!(large.len(), 500_000);
    assert_eq!(uplink.connections(), 1);
}

#[tokio::test]
async fn a_slow_uplink_transfers_a_request_that_takes_longer_than_the_keep_alive_time() {
    let uplink = Uplink::start().await;
    uplink.proxy.set(Line::Slow(70_000));
    let config = "x".repeat(500_000);
    let manifest = format!("apiVersion: v1\nconfigs:\n  large: {config}");
    uplink.operator.request(1, "manifest/apply", manifest).await;
    let reply = uplink.reply(1, 4 * DEADLINE).await;
    assert_eq!(reply, json!({"added_workloads": [], "deleted_workloads": []}));
}
