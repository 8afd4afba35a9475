//! Vehicles and a broker that send anything.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Output, TestFleet, manifest};

/// It clears the screen, turns the text round, and adds a line.
const EVIL: &str = "\u{1b}[2J\u{9b}31m\u{202e}x\u{2028}y\r\n99× fine\n\u{7f}";

/// Vehicles that answer each request as they like.
struct HostileFleet {
    client: AsyncClient,
    _answers: AbortOnDropHandle<()>,
}

impl HostileFleet {
    /// Connects, and publishes that the vehicles are online.
    async fn start(fleet: &TestFleet, vehicles: &[&str]) -> Self {
        let mut options = MqttOptions::new("hostile", "127.0.0.1", fleet.broker.port());
        options.set_keep_alive(Duration::from_secs(60));
        options.set_max_packet_size(Some(16 * 1024 * 1024));
        let (client, mut events) = AsyncClient::new(options, 1000);
        client.subscribe("vehicle/+/+/req", QoS::AtLeastOnce).await.unwrap();
        client.subscribe("vehicle/+/+/+/req", QoS::AtLeastOnce).await.unwrap();
        let answering = client.clone();
        let answers = tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::Publish(request)) = event {
                    answer(&answering, &request);
                }
            }
        });
        let hostile = Self { client, _answers: AbortOnDropHandle::new(answers) };
        let status = json!({"status": "online", "version": EVIL, "since": EVIL, "revision": 3,
            "ankaios": "disconnected", "reason": EVIL, "release": EVIL, "degraded": [EVIL],
            "labels": {EVIL: EVIL}});
        for vin in vehicles {
            let topic = format!("vehicle/{vin}/connector/status");
            hostile.publish(&topic, true, status.to_string()).await;
        }
        hostile
    }

    async fn publish(&self, topic: &str, is_retained: bool, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        self.client.publish(topic, QoS::AtLeastOnce, is_retained, payload).await.unwrap();
    }
}

/// The last lines of a workload, and more.
fn entries() -> Value {
    json!([{"workload_name": EVIL, "message": EVIL}, {"workload_name": 7}, "x", null])
}

/// Answers a request, if the queue has room.
fn answer(client: &AsyncClient, request: &Publish) {
    let topic = String::from_utf8_lossy(&request.topic).into_owned();
    let [_, vin, operation] = topic.splitn(3, '/').collect::<Vec<_>>()[..] else { return };
    let asked: Value = serde_json::from_slice(&request.payload).unwrap_or_default();
    let Some(properties) = &request.properties else { return };
    let Some(response) = properties.response_topic.clone() else { return };
    let send = |topic: &str, payload: String| {
        let properties = PublishProperties {
            correlation_data: properties.correlation_data.clone(),
            user_properties: properties.user_properties.clone(),
            ..PublishProperties::default()
        };
        let quality = QoS::AtLeastOnce;
        let _ = client.try_publish_with_properties(topic, quality, false, payload, properties);
    };
    let error = json!({"error": {"code": "internal", "message": EVIL.repeat(10_000)}});
    match vin {
        "H0" => send(&response, error.to_string()),
        // It first answers for another one, whose errors are then those that the test finds.
        "H1" => {
            send(&response.replace("/H1/", "/H2/"), json!({"fake": EVIL}).to_string());
            send(&response, valid(operation, &asked).to_string());
            send(&response, error.to_string());
            if operation == "manifest/apply/req" {
                let id = properties.user_properties.iter().find(|(name, _)| name == "request-id");
                let status = json!({"request_id": id.unwrap().1, "status": "rollback_failed",
                    "workloads": [], "reason": EVIL.repeat(1000)});
                send("vehicle/H1/manifest/apply/status", status.to_string());
            }
            if operation == "logs/subscribe/req" {
                let logs = format!("vehicle/H1/logs/{}", asked["id"].as_str().unwrap());
                let message = json!({"entries": entries(), "dropped": 3});
                // This one was not asked.
                send(&logs.replace("/H1/", "/H9/"), message.to_string());
                send(&logs, message.to_string());
                send(&logs, json!({"ended": true}).to_string());
            }
        }
        _ => send(&response, "[".repeat(100_000)),
    }
}

/// A reply that has the right form, and evil names.
fn valid(operation: &str, asked: &Value) -> Value {
    let state = json!({"id": {"state": "FAILED", "substate": "FAILED_LOST",
        "additional_info": EVIL}});
    let desired = json!({"apiVersion": "v1", "workloads": {
        EVIL: {"agent": EVIL, "runtime": EVIL, "runtimeConfig": EVIL},
    }, "configs": {EVIL: {"a": EVIL}}});
    // Other names are refused.
    let known = json!({"desiredState": {"apiVersion": "v1", "workloads": {"nginx": {
        "agent": EVIL, "runtime": "podman", "runtimeConfig": format!("image: {EVIL}")}}}});
    match operation {
        "manifest/history/req" => {
            json!({"current": 1, "revisions": [{"revision": 1, "at": EVIL, "operation": EVIL,
                "request_id": EVIL, "release": EVIL, "status": "succeeded",
                "changed": {"workloads": [EVIL], "configs": [EVIL], "deleted": [EVIL]}}]})
        }
        "state/req" if asked["format"] == "ankaios" => known,
        "state/req" => json!({"desired_state": desired,
            "workload_states": {EVIL: {EVIL: state, "nginx": state}}}),
        _ => json!({"revision": 1}),
    }
}

/// What a terminal would do more with than show it.
fn is_evil(c: char) -> bool {
    c != '\n' && c.is_control() || ['\u{202e}', '\u{2028}'].contains(&c)
}

fn check(command: &[&str], output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains(is_evil), "{command:?}: {text:?}");
        let is_added = |line: &str| line.trim_start().starts_with("99×");
        assert!(!text.lines().any(is_added), "{command:?}: {text}");
        // What is asked for raw is not cut.
        let is_raw = command.first() == Some(&"request");
        assert!(is_raw || text.len() < 20_000, "{command:?}: {} bytes", text.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vehicles_say_controls_no_terminal_and_is_cut() {
    let fleet = TestFleet::start(0).await;
    let hostile = HostileFleet::start(&fleet, &["H0", "H1", "H2"]).await;
    let record = json!({"expires_at": EVIL}).to_string();
    hostile.publish("vehicle/H1/logs/\u{202e}x/subscription", true, record).await;
    hostile.publish("vehicle/H2/events/x/subscription", true, "?").await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    while fleet.run(&["get", "vehicles", "-o", "name"]).await.stdout != "H0\nH1\nH2\n" {}
    for (command, code) in [
        (&["get", "vehicles"][..], 0),
        (&["get", "vehicles", "-o", "wide"], 0),
        (&["get", "vehicles", "-o", "yaml"], 0),
        (&["get", "workloads"], 1),
        (&["get", "workloads", "-o", "name"], 1),
        (&["get", "workloads", "-o", "yaml"], 1),
        (&["get", "configs", "-o", "wide"], 1),
        (&["get", "configs", "-o", "name"], 1),
        (&["get", "state"], 1),
        (&["get", "subscriptions"], 0),
        (&["get", "subscriptions", "-o", "name"], 0),
        (&["history", "--all"], 1),
        (&["history", "--all", "-o", "yaml"], 1),
        (&["diff", "a.yaml", "--all"], 1),
        (&["validate", "a.yaml", "--all"], 1),
        (&["wait", "nginx", "--all", "--timeout", "1s"], 1),
        (&["logs", "nginx", "--all", "--timeout", "2s"], 1),
        (&["request", "state", "--all"], 1),
        (&["request", "state", "--vehicle", "H1"], 0),
    ] {
        let output = fleet.run(command).await;
        assert_eq!(output.code, code, "{command:?}: {output:?}");
        check(command, &output);
    }
    let logs = fleet.run(&["logs", "nginx", "--all", "--timeout", "2s"]).await;
    assert!(logs.stdout.lines().all(|line| line.starts_with("H1 ")), "{logs:?}");
    assert!(logs.stderr.contains("it has not sent all: nothing came within 2s"), "{logs:?}");
    for command in [&["get", "state"][..], &["request", "state", "--all"], &["history", "--all"]] {
        let output = fleet.run(&[command, &["-o", "json"]].concat()).await;
        check(command, &output);
        let json = serde_json::from_str::<Value>(&output.stdout).unwrap();
        assert!(!json.to_string().contains("fake"), "{json}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_keeps_little_of_what_vehicles_say() {
    let fleet = TestFleet::start(0).await;
    let _hostile = HostileFleet::start(&fleet, &["H0", "H1", "H2"]).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    while fleet.run(&["get", "vehicles", "-o", "name"]).await.stdout != "H0\nH1\nH2\n" {}
    let apply = ["apply", "a.yaml", "--all", "--yes", "--id", "aaaa", "--max-failures", "100%"];
    let options = ["--deadline", "2s", "--rollback", "off"];
    let output = fleet.run(&[&apply[..], &options].concat()).await;
    check(&apply, &output);
    assert!(output.stdout.contains("1× the vehicle could not take it back:  [2J"), "{output:?}");
    for form in [&[][..], &["-o", "wide"], &["-o", "jsonl"], &["-o", "yaml"]] {
        let status = fleet.run(&[&["rollout", "status", "aaaa"][..], form].concat()).await;
        check(form, &status);
    }
    let journal = std::fs::read(fleet.journals().join("aaaa/transitions.jsonl")).unwrap();
    assert!(journal.len() < 20_000, "{} bytes", journal.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_that_do_not_exist_are_listed_in_time() {
    let fleet = TestFleet::start(0).await;
    let hostile = HostileFleet::start(&fleet, &["H0"]).await;
    let status = json!({"status": "offline", "version": "x".repeat(2000)}).to_string();
    for number in 0..2000 {
        let topic = format!("vehicle/X{number:04}/connector/status");
        hostile.publish(&topic, true, status.clone()).await;
    }
    while !fleet.run(&["get", "vehicles", "-o", "name"]).await.stdout.contains("X1999") {}
    let output = fleet.run(&["get", "vehicles"]).await;
    assert_eq!((output.code, output.stdout.lines().count()), (0, 2002), "{}", output.stderr);
    assert!(output.stdout.len() < 2002 * 300);
    // Somebody publishes records all the time.
    let publishing = tokio::spawn(async move {
        for number in 0.. {
            let topic = format!("vehicle/H0/events/{number}/subscription");
            hostile.publish(&topic, false, "{}").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let publishing = AbortOnDropHandle::new(publishing);
    let output = fleet.run(&["get", "subscriptions", "--all"]).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(!publishing.is_finished());
}
