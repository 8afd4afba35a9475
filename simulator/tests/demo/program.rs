//! The demo as users start it, apart from the port of the broker.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{Packet as Packet5, PublishProperties};
use rumqttc::v5::{self, mqttbytes};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use vehicle_simulator::broker::EmbeddedBroker;

const LIMIT: Duration = Duration::from_secs(20);

fn demo(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_vehicle-simulator"))
        .args(arguments)
        .env_remove("RUST_BACKTRACE")
        // Cargo may need it, and it leads nowhere here.
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// An operator with MQTT 3.1.1 who subscribes to all topics of vehicle 7.
async fn operator(broker: &EmbeddedBroker) -> (AsyncClient, EventLoop) {
    operator_of(broker, "vehicle/7/#").await
}

/// An operator with MQTT 3.1.1.
async fn operator_of(broker: &EmbeddedBroker, filter: &str) -> (AsyncClient, EventLoop) {
    let address = broker.address();
    let options = MqttOptions::new("operator", address.ip().to_string(), address.port());
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    (client, events)
}

/// Publishes with MQTT 5 and a user property.
async fn publish_with_property(
    broker: &EmbeddedBroker,
    topic: &str,
    payload: &str,
    property: (&str, &str),
) {
    let address = broker.address();
    let options = v5::MqttOptions::new("operator-5", address.ip().to_string(), address.port());
    let (client, mut events) = v5::AsyncClient::new(options, 10);
    let properties = PublishProperties {
        user_properties: vec![(property.0.to_owned(), property.1.to_owned())],
        ..PublishProperties::default()
    };
    let qos = mqttbytes::QoS::AtLeastOnce;
    let payload = payload.to_owned();
    client.publish_with_properties(topic, qos, false, payload, properties).await.unwrap();
    let acknowledged = async {
        while !matches!(events.poll().await.unwrap(), v5::Event::Incoming(Packet5::PubAck(_))) {}
    };
    timeout(LIMIT, acknowledged).await.unwrap();
}

/// The next message on a topic whose payload contains a text.
async fn message(events: &mut EventLoop, topic: &str, text: &str) -> Publish {
    let found = timeout(LIMIT, async {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap()
                && publish.topic == topic
                && String::from_utf8_lossy(&publish.payload).contains(text)
            {
                return publish;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("nothing with {text} came on {topic}"))
}

#[tokio::test]
async fn the_demo_serves_its_operators_and_stops_cleanly() {
    let broker = EmbeddedBroker::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (client, mut events) = operator(&broker).await;
    let mut demo = demo(&["--vin", "7", "--broker", &broker.address().to_string()]);
    message(&mut events, "vehicle/7/connector/status", "\"ankaios\":\"connected\"").await;

    for name in ["speed-provider", "cabin-display"] {
        let masks = "[\"workloadStates\"]";
        client.publish("vehicle/7/state/req", QoS::AtLeastOnce, false, masks).await.unwrap();
        message(&mut events, "vehicle/7/state/resp", name).await;
    }

    let telemetry = r#"{"id": "t", "field_masks": ["workloadStates.*.telemetry"]}"#;
    let crash = "{apiVersion: v1, configs: {crash: telemetry}}";
    for (topic, payload) in [("events/subscribe", telemetry), ("manifest/apply", crash)] {
        let topic = format!("vehicle/7/{topic}/req");
        client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }
    message(&mut events, "vehicle/7/events/t", "FAILED_EXEC_FAILED").await;
    message(&mut events, "vehicle/7/events/t", "RUNNING_OK").await;

    let bad = "{apiVersion: v1, workloads: {speed-provider: \
        {runtime: docker, agent: agent_A, runtimeConfig: \"image: speed-provider:2.0\"}}}";
    let apply = "vehicle/7/manifest/apply/req";
    publish_with_property(&broker, apply, bad, ("rollback", "on-failure")).await;
    message(&mut events, "vehicle/7/manifest/apply/status", "rolled_back").await;
    for (operation, payload, expected) in [
        ("manifest/history", "", r#""status":"rolled_back""#),
        ("state", r#"["desiredState.workloads"]"#, "ghcr.io/example/speed-provider:1.4"),
        ("manifest/rollback", r#"{"revision": 0}"#, r#""revision":4"#),
    ] {
        let topic = format!("vehicle/7/{operation}/req");
        client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        message(&mut events, &format!("vehicle/7/{operation}/resp"), expected).await;
    }

    let id = demo.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    message(&mut events, "vehicle/7/connector/status", "\"status\":\"offline\"").await;
    let status = timeout(LIMIT, demo.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    let mut output = String::new();
    demo.stdout.unwrap().read_to_string(&mut output).await.unwrap();
    assert!(output.contains("mosquitto_sub"), "{output}");
    assert!(output.contains(crash), "{output}");
    assert!(output.contains(bad), "{output}");
    let folder = output.lines().find_map(|line| line.trim().strip_prefix("control interface:"));
    let temporary = Path::new(folder.unwrap().trim()).parent().unwrap();
    assert!(!temporary.exists(), "{}", temporary.display());
    assert!(output.ends_with("Stopped.\n"), "{output}");
}

/// Of four vehicles, two fail and one is offline.
#[tokio::test]
async fn many_vehicles_have_labels_and_faults() {
    let broker = EmbeddedBroker::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (_client, mut events) = operator_of(&broker, "vehicle/#").await;
    let mut demo = demo(&["--vehicles", "4", "--broker", &broker.address().to_string()]);
    let status = |vin: &str| format!("vehicle/{vin}/connector/status");
    let first = message(&mut events, &status("SIM0001"), "\"ankaios\":\"connected\"").await;
    let labels = r#""labels":{"canary":"true","model":"y","region":"eu"}"#;
    assert!(String::from_utf8_lossy(&first.payload).contains(labels), "{first:?}");
    message(&mut events, &status("SIM0004"), "\"status\":\"offline\"").await;
    let manifest = "{apiVersion: v1, workloads: {nginx: {runtime: podman, agent: agent_A, \
                    runtimeConfig: \"image: nginx\"}}}";
    // It crashes where it fails, and is taken back.
    let topic = "vehicle/SIM0002/manifest/apply/req";
    publish_with_property(&broker, topic, manifest, ("rollback", "on-failure")).await;
    message(&mut events, "vehicle/SIM0002/manifest/apply/status", "rolled_back").await;
    let id = demo.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    message(&mut events, &status("SIM0001"), "\"status\":\"offline\"").await;
    let ended = timeout(LIMIT, demo.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
    let mut output = String::new();
    demo.stdout.unwrap().read_to_string(&mut output).await.unwrap();
    assert!(output.contains("fail:    SIM0002, SIM0003"), "{output}");
    assert!(output.contains("offline: SIM0004"), "{output}");
}

#[tokio::test]
async fn an_unreachable_broker_is_named() {
    let demo = demo(&["--broker", "127.0.0.1:1"]);
    let output = timeout(LIMIT, demo.wait_with_output()).await.unwrap().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("no MQTT broker answers at 127.0.0.1:1"), "{error}");
}
