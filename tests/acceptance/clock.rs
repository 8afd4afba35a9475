//! The system clock of the vehicle is set, by years: real Mosquitto, real binary, simulated Ankaios.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rumqttc::v5::mqttbytes::v5::Publish;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::clock::{Clock, SINCE_1970, YEARS};
use crate::support::connector::{BASE, start_connector_at};
use crate::support::scene::{find, payload, workload};
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, DEADLINE, Scene, free_port, http};

const EVENTS: &str = r#"{"id": "e", "field_masks": ["desiredState.configs"], "ttl": "1h"}"#;
const LOGS: &str = r#"{"id": "l", "workloads": ["w"], "follow": true, "ttl": "1h"}"#;

/// A clock, before and after a restart of the connector.
type Set = fn(&Clock);

const IN_1970: Set = |clock| clock.set_back(SINCE_1970);
const YEARS_AHEAD: Set = |clock| clock.set_forward(YEARS);
const RIGHT: Set = Clock::set_right;

async fn start(clock: &Clock, settings: &[(&str, &str)]) -> Scene {
    let scene = Scene::with(&[&clock.settings()[..], settings].concat()).await;
    scene.request("manifest/apply", workload("w", "localhost/w")).await;
    scene.request("workload/wait", r#"{"workload_name": "w", "state": "RUNNING"}"#).await;
    scene
}

/// How many seconds the broker keeps a record.
fn left(record: &Publish) -> u32 {
    record.properties.as_ref().and_then(|all| all.message_expiry_interval).unwrap()
}

/// The seconds from now to a time of RFC 3339 by the clock of this machine.
fn seconds_until(time: &Value) -> u64 {
    let time = fleet_contract::rfc3339::parse(time.as_str().unwrap()).unwrap();
    time.duration_since(SystemTime::now()).unwrap_or_default().as_secs()
}

#[tokio::test]
async fn subscriptions_live_as_long_as_was_asked_for_although_the_clock_is_set() {
    let Some(clock) =
        Clock::new("subscriptions_live_as_long_as_was_asked_for_although_the_clock_is_set")
    else {
        return;
    };
    for (before, after) in
        [(IN_1970, RIGHT), (RIGHT, IN_1970), (YEARS_AHEAD, RIGHT), (RIGHT, YEARS_AHEAD)]
    {
        for with_store in [false, true] {
            let store = TempDir::new().unwrap();
            let settings = [("STATE_DIR", store.path().to_str().unwrap())];
            let settings = if with_store { &settings[..] } else { &[] };
            before(&clock);
            let mut scene = start(&clock, settings).await;
            scene.request("events/subscribe", EVENTS).await;
            scene.request("logs/subscribe", LOGS).await;
            assert!(scene.connector.terminate().await.success());
            after(&clock);
            scene.restart_connector(&[&clock.settings()[..], settings].concat()).await;
            for (kind, id) in [("events", "e"), ("logs", "l")] {
                let resumed = format!("a subscription is resumed kind={kind:?} id={id:?}");
                scene.connector.line(&resumed).await;
                let mut records = scene.client(&format!("{kind}/{id}/subscription")).await;
                let record = records.next().await;
                assert!((3500..=3600).contains(&left(&record)), "{record:?}");
            }
            let mut events = scene.client("events/e").await;
            scene.request("manifest/apply", "apiVersion: v1\nconfigs:\n  door: open").await;
            find(&mut events, |event| event["complete_state"].is_object()).await;
            let mut logs = scene.client("logs/l").await;
            scene.vehicle.log("w", ["a line"]).await.unwrap();
            find(&mut logs, |message| message["entries"].is_array()).await;
        }
    }
}

#[tokio::test]
async fn a_record_shows_its_end_by_the_clock_that_was_set() {
    let Some(clock) = Clock::new("a_record_shows_its_end_by_the_clock_that_was_set") else {
        return;
    };
    IN_1970(&clock);
    let mut scene = start(&clock, &[]).await;
    scene.request("events/subscribe", EVENTS).await;
    let mut records = scene.client("events/e/subscription").await;
    let record = payload(&records.next().await);
    assert!(record["expires_at"].as_str().unwrap().starts_with("1970-01-"), "{record}");
    assert!(scene.connector.terminate().await.success());
    clock.set_right();
    scene.restart_connector(&clock.settings()).await;
    let is_right = |record: &Value| (3500..=3600).contains(&seconds_until(&record["expires_at"]));
    find(&mut records, is_right).await;
}

#[tokio::test]
async fn a_lifetime_is_neither_cut_nor_prolonged_while_the_clock_is_set() {
    let Some(clock) = Clock::new("a_lifetime_is_neither_cut_nor_prolonged_while_the_clock_is_set")
    else {
        return;
    };
    let scene = start(&clock, &[]).await;
    scene.request("events/subscribe", EVENTS).await;
    scene.request("logs/subscribe", LOGS).await;
    let mut ending = scene.client("logs/short").await;
    let mut logs = scene.client("logs/l").await;
    let mut records = scene.client("logs/l/subscription").await;
    let short = LOGS.replace("\"l\"", "\"short\"").replace("1h", "4s");
    let asked = tokio::time::Instant::now();
    scene.request("logs/subscribe", short).await;
    clock.set_forward(YEARS);
    scene.vehicle.log("w", ["a"]).await.unwrap();
    find(&mut logs, |message| message["entries"].is_array()).await;
    clock.set_back(SINCE_1970);
    find(&mut ending, |message| message["ended"] == json!(true)).await;
    let lived = asked.elapsed();
    assert!(lived >= Duration::from_secs(3) && lived < DEADLINE, "{lived:?}");
    clock.set_forward(YEARS);
    // The progress is saved, and the record lives on.
    let record = loop {
        scene.vehicle.log("w", ["b"]).await.unwrap();
        let record = records.next_within(Duration::from_millis(500)).await;
        let saved = |record: &Publish| {
            payload(record)["resume_at"].as_str().is_some_and(|time| time.starts_with("203"))
        };
        if let Some(record) = record.filter(saved) {
            break record;
        }
    };
    assert!((3400..=3600).contains(&left(&record)));
    let mut events = scene.client("events/e").await;
    scene.request("manifest/apply", "apiVersion: v1\nconfigs:\n  door: open").await;
    find(&mut events, |event| event["complete_state"].is_object()).await;
}

#[tokio::test]
async fn a_subscription_of_the_store_lives_no_longer_than_its_record_at_the_broker() {
    let Some(clock) =
        Clock::new("a_subscription_of_the_store_lives_no_longer_than_its_record_at_the_broker")
    else {
        return;
    };
    let store = TempDir::new().unwrap();
    let settings = [("STATE_DIR", store.path().to_str().unwrap())];
    IN_1970(&clock);
    let mut scene = start(&clock, &settings).await;
    scene.request("logs/subscribe", LOGS).await;
    assert!(scene.connector.terminate().await.success());
    // As if most of the hour had passed.
    let topic = format!("{BASE}/logs/l/subscription");
    let record = scene.client("logs/l/subscription").await.next().await.payload;
    let record = String::from_utf8(record.to_vec()).unwrap();
    let expiry = ["-V", "5", "-r", "-D", "publish", "message-expiry-interval", "5"];
    scene.broker.publish(&topic, &record, &expiry).await;
    let mut logs = scene.client("logs/l").await;
    clock.set_right();
    scene.restart_connector(&[&clock.settings()[..], &settings[..]].concat()).await;
    find(&mut logs, |message| message["ended"] == json!(true)).await;
}

#[tokio::test]
async fn a_certificate_is_accepted_once_the_clock_is_set() {
    let Some(clock) = Clock::new("a_certificate_is_accepted_once_the_clock_is_set") else { return };
    let authority = Authority::new();
    let (ca, server) = (authority.ca(), authority.certify_for_years("127.0.0.1", 2020, 2090));
    let secure = free_port();
    let config = [
        format!("listener {secure} 127.0.0.1"),
        format!("certfile {}", server.cert.display()),
        format!("keyfile {}", server.key.display()),
    ];
    let _broker = Broker::with(&config.each_ref().map(String::as_str)).await;
    let vehicle = Vehicle::start().await;
    IN_1970(&clock);
    let settings = [&clock.settings()[..], &[("MQTT_CA_FILE", ca.to_str().unwrap())]].concat();
    let connector = start_connector_at(secure, vehicle.control_interface(), &settings);
    let line = connector.line("its certificate is not valid yet; correct the clock").await;
    assert!(line.contains("the clock of the vehicle is not set, it says 1970-01-"), "{line}");
    clock.set_right();
    connector.line("ready for requests").await;
}

#[tokio::test]
async fn the_start_time_in_the_metrics_is_by_the_clock_that_is_set() {
    let Some(clock) = Clock::new("the_start_time_in_the_metrics_is_by_the_clock_that_is_set")
    else {
        return;
    };
    let port = free_port();
    let health = format!("127.0.0.1:{port}");
    IN_1970(&clock);
    let settings = [&clock.settings()[..], &[("HEALTH_ADDR", &*health)]].concat();
    let scene = Scene::with(&settings).await;
    clock.set_right();
    let metrics = http::get(port, "/metrics").await.body;
    let start = metrics.lines().find_map(|line| line.strip_prefix("process_start_time_seconds "));
    let start = UNIX_EPOCH + Duration::from_secs_f64(start.unwrap().parse().unwrap());
    let age = SystemTime::now().duration_since(start).unwrap();
    assert!(age < Duration::from_secs(60), "{age:?}");
    drop(scene);
}
