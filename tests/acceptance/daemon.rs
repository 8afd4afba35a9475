//! The process: settings, help, signals, and starting before its peers.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ankaios_model::proto::ank_base::Request;
use ankaios_model::proto::ank_base::request::RequestContent;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::json;
use vehicle_simulator::{Fault, SimulatedVehicle, VehicleOptions};

use crate::support::connector::BASE;
use crate::support::scene::payload;
use crate::support::scripted_broker::connack_properties;
use crate::support::scripted_scene::ScriptedScene;
use crate::support::{Broker, DEADLINE, Scene, eventually, start_connector};

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fleet-connector"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn all_invalid_settings_are_reported_and_exit_with_64() {
    let output = run(&["--request-timeout=never"], &[("VIN", "a/b"), ("MQTT_BROKER_PORT", "x")]);
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8(output.stderr).unwrap();
    for part in ["VIN: \"a/b\"", "MQTT_BROKER_PORT: \"x\"", "REQUEST_TIMEOUT: \"never\"", "--help"]
    {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    assert!(output.stdout.is_empty());

    let output = run(&["--no-such-flag"], &[("VIN", "1")]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn variables_that_name_no_certificates_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (name, value, expected) in [
        ("SSL_CERT_FILE", "/nonexistent.pem", "/nonexistent.pem cannot be read"),
        ("SSL_CERT_FILE", empty.to_str().unwrap(), "empty.pem: it contains no certificate"),
        ("SSL_CERT_FILE", "", "it is empty"),
        ("SSL_CERT_DIR", folder.path().to_str().unwrap(), "has no CA certificates"),
    ] {
        let output = run(&[], &[("VIN", "1"), ("MQTT_TLS", "true"), (name, value)]);
        assert_eq!(output.status.code(), Some(64));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(&format!("{name}: ")) && error.contains(expected), "{error}");
    }
}

#[test]
fn help_explains_every_setting() {
    let output = run(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for part in [
        "--vin",
        "VIN",
        "--mqtt-broker-addr",
        "MQTT_BROKER_ADDR",
        "MQTT_BROKER_PORT",
        "MQTT_CLIENT_ID",
        "MQTT_SESSION_EXPIRY",
        "MQTT_WILL_DELAY",
        "MQTT_RECONNECT_SPREAD",
        "MQTT_KEEP_ALIVE",
        "REPLICA_ID",
        "LABELS",
        "FLEET",
        "CONTROL_INTERFACE_DIR",
        "REQUEST_TIMEOUT",
        "MAX_PAYLOAD_SIZE",
        "RESPONSE_TOPIC_PREFIXES",
        "HEALTH_ADDR",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "default: 1883",
        "vehicle/<VIN>/<operation>/req",
    ] {
        assert!(help.contains(part), "{part} is missing in {help}");
    }
    let version = String::from_utf8(run(&["--version"], &[]).stdout).unwrap();
    assert_eq!(version.trim(), concat!("fleet-connector ", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_signal_stops_it_after_the_requests_in_flight() {
    let mut scene = Scene::start().await;
    let mut client = scene.client("slow/resp").await;
    let delay = Duration::from_secs(1);
    // Not a probe of the link, nor a subscription of the guard.
    let is_one = |request: &Request| match &request.request_content {
        Some(RequestContent::CompleteStateRequest(state)) => state.field_mask.is_empty(),
        _ => false,
    };
    // All answers, because Ankaios keeps their order: one that is overtaken counts as lost.
    scene.vehicle.inject_fault(usize::MAX, Fault::DelayAnswer(delay), |_| true);
    let topic = format!("{BASE}/state/req");
    client.request(&topic, "[]", &format!("{BASE}/slow/resp"), 1).await;
    eventually("Ankaios has the request", DEADLINE, async || {
        scene.vehicle.requests().iter().any(is_one).then_some(())
    })
    .await;
    let start = Instant::now();
    assert_eq!(scene.connector.terminate().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
    let reply = payload(&client.next().await);
    assert!(reply["agents"].is_object(), "{reply}");
}

#[tokio::test]
async fn waits_are_answered_as_unavailable_when_it_stops() {
    let mut scene = Scene::start().await;
    let mut client = scene.client("wait/resp").await;
    let wait = r#"{"workload_name": "nobody", "state": "RUNNING", "timeout": "10m"}"#;
    let reply = format!("{BASE}/wait/resp");
    client.request(&format!("{BASE}/workload/wait/req"), wait, &reply, 1).await;
    // Requests start in the order of arrival.
    scene.request("state", "[]").await;
    let start = Instant::now();
    assert_eq!(scene.connector.terminate().await.code(), Some(0));
    // It takes less than the time that requests in flight may take.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let reply = payload(&client.next().await);
    assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
}

/// The first process of a container ignores signals that it does not handle yet. The policy is a
/// FIFO that nobody writes, which holds up reading the settings.
#[tokio::test]
async fn signals_are_handled_before_the_settings_are_read() {
    let broker = Broker::start().await;
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy");
    mknodat(CWD, &policy, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let settings = [("POLICY_FILE", policy.to_str().unwrap())];
    let connector = start_connector(&broker, folder.path(), &settings);
    eventually("it handles SIGTERM and SIGINT", DEADLINE, async || {
        (connector.handles(Signal::TERM) && connector.handles(Signal::INT)).then_some(())
    })
    .await;
    assert_eq!(connector.output(), [""; 0]);
}

#[tokio::test]
async fn sigint_stops_it_like_sigterm() {
    let mut scene = Scene::start().await;
    scene.connector.signal(Signal::INT);
    assert_eq!(scene.connector.wait().await.code(), Some(0));
    let topic = format!("{BASE}/connector/status");
    let mut status = scene.broker.subscribe(&topic, &[]).await;
    assert_eq!(status.next().await.json()["status"], "offline");
}

#[tokio::test]
async fn it_stops_in_time_even_if_nothing_answers() {
    let mut scene = Scene::with(&[("REQUEST_TIMEOUT", "60s")]).await;
    let client = scene.client("slow/resp").await;
    scene.vehicle.set_server_down(true);
    let requests = scene.vehicle.request_count();
    client.publish(&format!("{BASE}/state/req"), "[]").await;
    scene.vehicle.wait_for_requests(requests + 1, Duration::from_secs(5)).await.unwrap();
    let start = Instant::now();
    assert_eq!(scene.connector.terminate().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// A PUBLISH of 100 bytes that ends after its topic.
const CUT_OFF: &[u8] = &[0x30, 100, 0, 1, b'a'];

#[tokio::test]
async fn a_broker_that_hangs_delays_no_stop_without_requests() {
    let mut scene = ScriptedScene::start().await;
    let mut connection = scene.broker.serve(false).await;
    scene.connector.line("ready for requests").await;
    connection.send_bytes(CUT_OFF).await;
    let start = Instant::now();
    assert_eq!(scene.connector.terminate().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_not_unanswered(&scene);
}

#[tokio::test]
async fn a_broker_that_hangs_when_it_is_back_delays_no_stop_without_requests() {
    let mut scene = ScriptedScene::start().await;
    drop(scene.broker.serve(false).await);
    let mut connection = scene.broker.accept().await;
    connection.connack(true, connack_properties()).await;
    connection.subscribe().await;
    connection.send_bytes(CUT_OFF).await;
    let start = Instant::now();
    assert_eq!(scene.connector.terminate().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_not_unanswered(&scene);
}

#[tokio::test]
async fn a_stop_with_a_request_in_progress_says_so_and_is_in_time() {
    let mut scene = ScriptedScene::with(&[("REQUEST_TIMEOUT", "60s")]).await;
    let mut connection = scene.broker.serve(false).await;
    scene.hold_request(&mut connection, 1, 1).await;
    connection.send_bytes(CUT_OFF).await;
    let start = Instant::now();
    assert_eq!(scene.connector.terminate().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    scene.connector.line("some requests were not answered within 4s").await;
}

fn assert_not_unanswered(scene: &ScriptedScene) {
    let output = scene.connector.output();
    assert!(!output.iter().any(|line| line.contains("not answered")), "{output:?}");
}

#[tokio::test]
async fn it_stops_in_time_without_broker_and_ankaios() {
    let mut broker = Broker::start().await;
    broker.stop().await;
    let mut connector = start_connector(&broker, "/nonexistent".as_ref(), &[]);
    connector.line("no connection to the MQTT broker").await;
    let start = Instant::now();
    assert_eq!(connector.terminate().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn it_waits_for_a_broker_and_an_ankaios_that_start_later() {
    let mut broker = Broker::start().await;
    broker.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let fifos = folder.path().join("control_interface");
    let connector = start_connector(&broker, &fifos, &[]);
    connector.line("no connection to the MQTT broker").await;
    connector.line("no link to Ankaios").await;
    broker.start_again().await;
    connector.line("ready for requests").await;
    let vehicle = SimulatedVehicle::start(&fifos, VehicleOptions::default()).await.unwrap();
    let reply = broker.request(&format!("{BASE}/state"), "[]", &[]).await;
    assert!(reply.json()["agents"].is_object());
    drop(vehicle);
}

#[tokio::test]
async fn the_log_shows_requests_and_replies_but_no_payloads() {
    let scene = Scene::with(&[("LOG_LEVEL", "info"), ("LOG_FORMAT", "json")]).await;
    let secret = r#"["desiredState.configs.secret"]"#;
    scene.request("state", secret).await;
    let line = scene.connector.line("\"done\"").await;
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(entry["operation"], json!("state"));
    assert_eq!(entry["request_size"], json!(secret.len()));
    assert!(entry["reply_size"].as_u64().unwrap() > 0);
    assert!(entry["took"].is_string() && entry["request_id"].is_string());
    scene.request("state", r#"[1]"#).await;
    scene.connector.line("\"invalid_payload\"").await;
    assert!(!scene.connector.output().iter().any(|line| line.contains("configs.secret")));
}

#[tokio::test]
async fn a_peer_that_is_not_an_mqtt_broker_is_reported() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let broker = Broker::start().await;
    let connector =
        start_connector(&broker, "/nonexistent".as_ref(), &[("MQTT_BROKER_PORT", &port)]);
    let (mut socket, _) = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad\r\n\r\n").await.unwrap();
    connector.line("no connection to the MQTT broker").await;
}
