//! The binary with a real Mosquitto.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::process::Output;
use std::time::{Duration, Instant};

use support::broker::Message;
use support::certificates::Authority;
use support::{Broker, Process};
use tokio::net::TcpListener;
use tokio::process::Command;

const TOPIC: &str = "vehicle/1/sensors/speed";

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vehicle-data-sender"));
    command.env_clear();
    command
}

fn start(broker: &Broker, settings: &[(&str, &str)]) -> Process {
    let mut command = command();
    command
        .env("MQTT_BROKER_ADDR", "127.0.0.1")
        .env("MQTT_BROKER_PORT", broker.port().to_string())
        .env("TOPIC", TOPIC)
        .envs(settings.iter().copied());
    Process::start("vehicle-data-sender", command)
}

async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command().args(arguments).envs(environment.iter().copied()).output().await.unwrap()
}

fn assert_is_speed(message: &Message) {
    let speed: u8 = message.payload.as_ref().unwrap().parse().unwrap();
    assert!(speed <= 100, "{message:?}");
    assert!(message.topic == TOPIC && message.qos == 0 && !message.retain, "{message:?}");
}

#[tokio::test]
async fn publishes_a_speed_at_each_interval() {
    let broker = Broker::start().await;
    let mut speeds = broker.subscribe(TOPIC, &[]).await;
    let mut sender = start(&broker, &[]);
    assert_is_speed(&speeds.next().await);
    let begin = Instant::now();
    for _ in 0..3 {
        assert_is_speed(&speeds.next().await);
    }
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(2_500), "{took:?}");
    assert_eq!(sender.terminate().await.code(), Some(0));
    // It disconnects and does not just close the connection.
    broker.process().line("Received DISCONNECT from vehicle-data-sender-").await;
}

#[tokio::test]
async fn nothing_is_published_before_the_interval_is_over() {
    let broker = Broker::start().await;
    let mut speeds = broker.subscribe(TOPIC, &[]).await;
    let _sender = start(&broker, &[("INTERVAL", "3600")]);
    speeds.next().await;
    assert!(speeds.next_within(Duration::from_secs(2)).await.is_none());
}

#[tokio::test]
async fn reconnects_when_the_broker_is_back() {
    let mut broker = Broker::start().await;
    broker.stop().await;
    let mut sender = start(&broker, &[]);
    sender.line("no connection to the MQTT broker").await;
    broker.start_again().await;
    broker.subscribe(TOPIC, &[]).await.next().await;
    broker.kill().await;
    broker.start_again().await;
    broker.subscribe(TOPIC, &[]).await.next().await;
    broker.stop().await;
    assert_eq!(sender.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn websocket_and_a_port_in_the_address_are_possible() {
    let websocket = support::free_port();
    let listener = format!("listener {websocket} 127.0.0.1");
    let broker = Broker::with(&[&listener, "protocol websockets"]).await;
    let address = format!("127.0.0.1:{websocket}");
    let settings = [
        ("MQTT_BROKER_ADDR", address.as_str()),
        ("MQTT_BROKER_PORT", ""),
        ("MQTT_TRANSPORT", "websocket"),
    ];
    let _sender = start(&broker, &settings);
    assert_is_speed(&broker.subscribe(TOPIC, &[]).await.next().await);
}

#[tokio::test]
async fn tls_is_possible_with_and_without_websocket() {
    let authority = Authority::new();
    let [certified, client] = ["127.0.0.1", "sender"].map(|name| authority.certify(name));
    let ca = authority.ca();
    let [ca, cert, key] = [&ca, &client.cert, &client.key].map(|file| file.to_str().unwrap());
    let [plain, secure, websocket] = std::array::from_fn(|_| support::free_port());
    let tls = format!(
        "cafile {ca}\ncertfile {}\nkeyfile {}\nrequire_certificate true",
        certified.cert.display(),
        certified.key.display()
    );
    let broker = Broker::with(&[
        &format!("listener {plain} 127.0.0.1"),
        &format!("listener {secure} 127.0.0.1\n{tls}"),
        &format!("listener {websocket} 127.0.0.1\nprotocol websockets\n{tls}"),
    ])
    .await;
    for (port, transport) in [(secure, "tcp"), (websocket, "websocket")] {
        let settings = [
            ("MQTT_BROKER_PORT", &*port.to_string()),
            ("MQTT_TRANSPORT", transport),
            ("MQTT_CA_FILE", ca),
            ("MQTT_CERT_FILE", cert),
            ("MQTT_KEY_FILE", key),
        ];
        let mut sender = start(&broker, &settings);
        assert_is_speed(&broker.subscribe(TOPIC, &[]).await.next().await);
        assert_eq!(sender.terminate().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_stop_while_the_broker_does_not_answer_is_not_delayed() {
    let broker = Broker::start().await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let mut sender = start(&broker, &[("MQTT_BROKER_PORT", &port)]);
    let _connection = silent.accept().await.unwrap();
    let begin = Instant::now();
    assert_eq!(sender.terminate().await.code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_proxy_is_used_and_named() {
    let broker = Broker::start().await;
    let proxy = format!("http://127.0.0.1:{}", support::free_port());
    let sender = start(&broker, &[("HTTPS_PROXY", &proxy)]);
    let line = sender.line("no connection to the MQTT broker").await;
    assert!(line.contains(&format!("the proxy {proxy} cannot be reached")), "{line}");
    let _direct = start(&broker, &[("HTTPS_PROXY", &proxy), ("no_proxy", "127.0.0.1")]);
    assert_is_speed(&broker.subscribe(TOPIC, &[]).await.next().await);
}

#[tokio::test]
async fn all_mistakes_are_reported_at_once_and_exit_with_64() {
    let environment =
        [("TOPIC", "a/#"), ("INTERVAL", "soon"), ("MQTT_BROKER_PORT", "x"), ("LOG_LEVEL", "loud")];
    let output = run(&["--mqtt-broker-addr=mqtt://host"], &environment).await;
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8(output.stderr).unwrap();
    for part in [
        "TOPIC: \"a/#\"",
        "INTERVAL: \"soon\"",
        "MQTT_BROKER_PORT: \"x\"",
        "MQTT_BROKER_ADDR: \"mqtt://host\"",
        "LOG_LEVEL: \"loud\"",
        "vehicle-data-sender --help",
    ] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    assert_eq!(run(&[], &[]).await.status.code(), Some(64));
    assert_eq!(run(&["--speed=1"], &[("TOPIC", "t")]).await.status.code(), Some(64));
}

#[tokio::test]
async fn help_explains_every_setting() {
    let output = run(&["--help"], &[]).await;
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for part in ["MQTT_BROKER_ADDR", "MQTT_BROKER_PORT", "TOPIC", "INTERVAL", "LOG_LEVEL"] {
        assert!(help.contains(part), "{part} is missing in {help}");
    }
}
