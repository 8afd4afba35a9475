//! Health and metrics: what they report when a peer is missing, and that no HTTP client can
//! disturb the connector.

use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::connector::BASE;
use crate::support::openmetrics::Scrape;
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, DEADLINE, Scene, eventually, free_port, http, start_connector};

/// A scene whose connector serves its health on the returned port.
async fn start() -> (Scene, u16) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    (Scene::with(&[("HEALTH_ADDR", &address)]).await, port)
}

/// Waits until `/readyz` returns a response that `fits`.
async fn readyz(what: &str, port: u16, fits: impl Fn(u16, &Value) -> bool) -> Value {
    eventually(what, DEADLINE, || async {
        let response = http::get(port, "/readyz").await;
        assert_eq!(response.headers["content-type"], "application/json");
        let answer = response.json();
        fits(response.status, &answer).then_some(answer)
    })
    .await
}

async fn ready(port: u16) {
    let ready = |status, answer: &Value| status == 200 && *answer == json!({"ready": true});
    readyz("ready", port, ready).await;
}

/// Waits until `part` is among the reasons why it is not ready; returns the reason.
async fn not_ready(port: u16, part: &str) -> String {
    let fits = |status, answer: &Value| {
        status == 503 && answer["ready"] == json!(false) && answer["reasons"][part].is_string()
    };
    let answer = readyz(part, port, fits).await;
    answer["reasons"][part].as_str().unwrap().to_owned()
}

async fn assert_alive(port: u16) {
    let response = http::get(port, "/livez").await;
    assert_eq!((response.status, response.json()), (200, json!({"alive": true})));
}

/// Runs `fleet-connector health`; returns exit code, standard output and standard error.
async fn health(arguments: &[&str], address: Option<&str>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-connector"));
    command.arg("health").args(arguments).env_clear();
    command.envs(address.map(|address| ("HEALTH_ADDR", address)));
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn without_the_broker_it_is_alive_but_not_ready_until_it_is_back() {
    let (mut scene, port) = start().await;
    ready(port).await;
    assert_alive(port).await;
    scene.broker.kill().await;
    let reason = not_ready(port, "mqtt").await;
    assert!(reason.contains(&format!("127.0.0.1:{}", scene.broker.port())), "{reason}");
    // Between attempts to connect, and during them.
    scene.connector.line("no connection to the MQTT broker").await;
    for _ in 0..10 {
        assert_alive(port).await;
    }
    assert_eq!(Scrape::of(port).await.get("fleet_connector_mqtt_connected"), 0.0);
    scene.broker.start_again().await;
    ready(port).await;
    let scrape = Scrape::of(port).await;
    assert_eq!(scrape.get("fleet_connector_mqtt_connected"), 1.0);
    assert_eq!(scrape.get("fleet_connector_mqtt_reconnects_total"), 1.0);
    assert!(scrape.get("fleet_connector_mqtt_connection_failures_total") >= 1.0);
}

#[tokio::test]
async fn replies_that_cannot_be_sent_do_not_make_it_unhealthy() {
    const REQUESTS: u64 = 100;
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let settings = [("HEALTH_ADDR", address.as_str()), ("REQUEST_TIMEOUT", "3s")];
    let mut scene = Scene::with(&settings).await;
    scene.vehicle.set_server_down(true);
    let asked = scene.vehicle.request_count();
    // QoS 0, because with QoS 1 no more requests are in flight than the session queues replies.
    let topic = format!("{BASE}/state/req");
    let publish = |_| scene.broker.publish(&topic, "[]", &["-q", "0"]);
    join_all((0..REQUESTS).map(publish)).await;
    scene.vehicle.wait_for_requests(asked + REQUESTS, DEADLINE).await.unwrap();
    scene.broker.kill().await;
    not_ready(port, "mqtt").await;
    // The router is blocked, because the queue has no room for a reply.
    eventually("more requests have failed than replies are queued", DEADLINE, || async {
        assert_alive(port).await;
        let failed = Scrape::of(port).await.requests("state", "timeout");
        (failed > 64.0).then_some(())
    })
    .await;
    assert_alive(port).await;
}

#[tokio::test]
async fn without_an_agent_it_is_alive_but_not_ready_until_one_starts() {
    let (scene, port) = start().await;
    let subscribe = json!({"id": "e", "field_masks": ["workloadStates"], "ttl": "0s"});
    scene.request("events/subscribe", subscribe.to_string()).await;
    ready(port).await;
    scene.vehicle.kill_agent().await.unwrap();
    let reason = not_ready(port, "ankaios").await;
    assert!(reason.contains("is the Ankaios agent running?"), "{reason}");
    assert_alive(port).await;
    let state = |scrape: &Scrape, state: &str| {
        scrape.get(&format!("fleet_connector_ankaios_link_state{{state=\"{state}\"}}"))
    };
    let scrape = Scrape::of(port).await;
    assert_eq!((state(&scrape, "connected"), state(&scrape, "disconnected")), (0.0, 1.0));
    let interrupted = "fleet_connector_ankaios_event_streams{state=\"interrupted\"}";
    assert!(scrape.get(interrupted) >= 1.0);
    scene.vehicle.start_agent().await.unwrap();
    ready(port).await;
    let scrape = Scrape::of(port).await;
    assert_eq!((state(&scrape, "connected"), state(&scrape, "disconnected")), (1.0, 0.0));
    assert_eq!(scrape.get(interrupted), 0.0);
    assert_eq!(scrape.get("fleet_connector_ankaios_reconnects_total"), 1.0);
    assert!(scrape.get("fleet_connector_ankaios_event_stream_resyncs_total") >= 1.0);
}

#[tokio::test]
async fn an_ankaios_that_does_not_answer_is_not_ready() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let settings = [("HEALTH_ADDR", address.as_str()), ("REQUEST_TIMEOUT", "300ms")];
    let scene = Scene::with(&settings).await;
    ready(port).await;
    scene.vehicle.set_server_down(true);
    let reply = scene.request("state", "[]").await;
    assert_eq!(reply["error"]["code"], "timeout");
    let reason = not_ready(port, "ankaios").await;
    assert!(reason.contains("does not answer"), "{reason}");
    assert_alive(port).await;
    scene.vehicle.set_server_down(false);
    ready(port).await;
}

#[tokio::test]
async fn a_denied_event_stream_is_named() {
    let (scene, port) = start().await;
    let subscribe = json!({"id": "e", "field_masks": ["desiredState.configs.door"]});
    scene.request("events/subscribe", subscribe.to_string()).await;
    ready(port).await;
    scene.vehicle.set_access(Default::default());
    scene.vehicle.restart_agent(Duration::ZERO).await.unwrap();
    let denied = |_, answer: &Value| {
        let reasons = &answer["reasons"];
        let streams = reasons["event_streams"].as_str().unwrap_or_default();
        // The link is up, because a denied request is answered, too.
        reasons["ankaios"].is_null()
            && streams.contains("desiredState.configs.door: ")
            && streams.contains("controlInterfaceAccess")
    };
    let answer = readyz("the stream that is denied", port, denied).await;
    let guard = answer["reasons"]["guard"].as_str().unwrap();
    assert!(guard.contains("subscription"), "{guard}");
    let failures = "fleet_connector_ankaios_event_stream_failures_total";
    assert!(Scrape::of(port).await.get(failures) >= 1.0);
    scene.vehicle.set_access(vehicle_simulator::access::allow_all());
    ready(port).await;
}

#[tokio::test]
async fn without_any_peer_it_says_what_is_missing() {
    let mut broker = Broker::start().await;
    broker.stop().await;
    let port = free_port();
    let address = format!("0.0.0.0:{port}");
    let connector = start_connector(&broker, "/nonexistent".as_ref(), &[("HEALTH_ADDR", &address)]);
    connector.line("no connection to the MQTT broker").await;
    connector.line("no link to Ankaios").await;
    assert!(not_ready(port, "mqtt").await.contains("refused"));
    let (code, out, err) = health(&[], Some(&address)).await;
    assert_eq!((code, err.as_str()), (1, ""));
    let answer: Value = serde_json::from_str(&out).unwrap();
    let reason = answer["reasons"]["ankaios"].as_str().unwrap();
    assert!(reason.contains("controlInterfaceAccess"), "{reason}");
    let (code, out, _) = health(&["livez"], Some(&address)).await;
    assert_eq!((code, out.as_str()), (0, "{\"alive\":true}\n"));
}

#[tokio::test]
async fn the_command_reports_health_by_its_exit_code() {
    let (mut scene, port) = start().await;
    let address = format!("127.0.0.1:{port}");
    ready(port).await;
    let asked = health(&[&format!("--health-addr={address}")], None).await;
    assert_eq!(asked, (0, "{\"ready\":true}\n".to_owned(), String::new()));
    scene.connector.kill().await;
    let (code, out, err) = health(&[], Some(&address)).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(&address) && err.contains("refused"), "{err}");
    for address in [None, Some(""), Some("here")] {
        let (code, out, err) = health(&[], address).await;
        assert_eq!((code, out.as_str()), (64, ""));
        assert!(err.contains("HEALTH_ADDR"), "{err}");
    }
}

#[tokio::test]
async fn the_command_has_a_timeout() {
    // The kernel accepts connections, but no process answers.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let start = Instant::now();
    let (code, _, err) = health(&[], Some(&address)).await;
    assert_eq!(code, 1);
    assert!(err.contains("no response within 5s"), "{err}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn an_occupied_port_makes_the_start_fail() {
    let broker = Broker::start().await;
    let vehicle = Vehicle::start().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let settings = [("HEALTH_ADDR", address.as_str())];
    let mut connector = start_connector(&broker, vehicle.control_interface(), &settings);
    assert_eq!(connector.wait().await.code(), Some(1));
    let line = connector.line("HEALTH_ADDR").await;
    assert!(
        line.contains(&address) && line.contains("in use") && line.contains("choose"),
        "{line}"
    );
}

#[tokio::test]
async fn while_it_stops_it_is_not_ready() {
    let (scene, port) = start().await;
    let client = scene.client("state/resp").await;
    scene.vehicle.set_server_down(true);
    let asked = scene.vehicle.request_count();
    client.publish(&format!("{BASE}/state/req"), "[]").await;
    scene.vehicle.wait_for_requests(asked + 1, DEADLINE).await.unwrap();
    scene.connector.signal(rustix::process::Signal::TERM);
    assert_eq!(not_ready(port, "connector").await, "it is stopping");
}

#[tokio::test]
async fn requests_and_their_outcomes_are_counted() {
    let (scene, port) = start().await;
    let before = Scrape::of(port).await;
    for _ in 0..3 {
        scene.request("state", "[]").await;
    }
    scene.request("state", "[1]").await;
    scene.request("events/unsubscribe", r#"{"id": "none"}"#).await;
    scene.request("no/such", "x").await;
    scene.request("nor/this", "x").await;
    scene.request("events/subscribe", r#"{"id": "e", "field_masks": ["workloadStates"]}"#).await;
    let logs = r#"{"id": "l", "workloads": ["fleetconnector"], "follow": true}"#;
    scene.request("logs/subscribe", logs).await;
    let after = Scrape::of(port).await;
    for (operation, outcome, count) in [
        ("state", "ok", 3.0),
        ("state", "invalid_payload", 1.0),
        ("state", "timeout", 0.0),
        ("events/unsubscribe", "not_found", 1.0),
        ("unknown", "not_found", 2.0),
        ("events/subscribe", "ok", 1.0),
        ("manifest/apply", "ok", 0.0),
    ] {
        assert_eq!(before.requests(operation, outcome), 0.0);
        assert_eq!(after.requests(operation, outcome), count, "{operation} {outcome}");
    }
    let duration = "fleet_connector_request_duration_seconds";
    assert_eq!(after.get(&format!("{duration}_count{{operation=\"state\"}}")), 4.0);
    let sum = after.get(&format!("{duration}_sum{{operation=\"state\"}}"));
    assert!(sum > 0.0 && sum < 4.0 * DEADLINE.as_secs_f64());
    let all = format!("{duration}_bucket{{le=\"+Inf\",operation=\"state\"}}");
    assert_eq!(after.get(&all), 4.0);
    for (kind, count) in [("events", 1.0), ("logs", 1.0)] {
        let subscriptions = format!("fleet_connector_subscriptions{{kind=\"{kind}\"}}");
        assert_eq!((before.get(&subscriptions), after.get(&subscriptions)), (0.0, count));
    }
    for counter in [
        "ankaios_sent_frames",
        "ankaios_received_frames",
        "ankaios_sent_bytes",
        "ankaios_received_bytes",
        "mqtt_sent_packets",
        "mqtt_received_packets",
        "mqtt_sent_bytes",
        "mqtt_received_bytes",
    ] {
        let counter = format!("fleet_connector_{counter}_total");
        let (before, after) = (before.get(&counter), after.get(&counter));
        assert!(0.0 < before && before < after, "{counter}: {before}, {after}");
    }
    assert_eq!(after.families(), FAMILIES);
    let memory = after.get("process_resident_memory_bytes");
    assert!((1e6..1e9).contains(&memory), "{memory}");
    scene.request("events/unsubscribe", r#"{"id": "e"}"#).await;
    let events = "fleet_connector_subscriptions{kind=\"events\"}";
    assert_eq!(Scrape::of(port).await.get(events), 0.0);
}

/// The names that dashboards and alerts may rely on.
const FAMILIES: [&str; 26] = [
    "fleet_connector_ankaios_dropped_events",
    "fleet_connector_ankaios_dropped_log_entries",
    "fleet_connector_ankaios_event_stream_failures",
    "fleet_connector_ankaios_event_stream_resyncs",
    "fleet_connector_ankaios_event_streams",
    "fleet_connector_ankaios_link_state",
    "fleet_connector_ankaios_received_bytes",
    "fleet_connector_ankaios_received_frames",
    "fleet_connector_ankaios_reconnects",
    "fleet_connector_ankaios_sent_bytes",
    "fleet_connector_ankaios_sent_frames",
    "fleet_connector_build",
    "fleet_connector_mqtt_connected",
    "fleet_connector_mqtt_connection_failures",
    "fleet_connector_mqtt_degraded",
    "fleet_connector_mqtt_received_bytes",
    "fleet_connector_mqtt_received_packets",
    "fleet_connector_mqtt_reconnects",
    "fleet_connector_mqtt_sent_bytes",
    "fleet_connector_mqtt_sent_packets",
    "fleet_connector_mqtt_session_expiry_seconds",
    "fleet_connector_request_duration_seconds",
    "fleet_connector_requests",
    "fleet_connector_subscriptions",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
];

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let (_scene, port) = start().await;
    let response = http::get(port, "/").await;
    assert_eq!(response.status, 404);
    assert!(response.json()["error"].as_str().unwrap().contains("/readyz"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let response = http::request(port, method, "/metrics").await.unwrap();
        assert_eq!((response.status, response.headers["allow"].as_str()), (405, "GET, HEAD"));
    }
    let head = http::request(port, "HEAD", "/livez").await.unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.headers["content-length"], "15");
    assert_eq!(http::get(port, "/livez?x=y").await.status, 200);
}

/// Asserts that the connector still serves requests, health and metrics.
async fn assert_serves(scene: &Scene, port: u16) {
    assert!(scene.request("state", "[]").await["agents"].is_object());
    ready(port).await;
    Scrape::of(port).await;
}

#[tokio::test]
async fn clients_that_never_finish_do_not_block_others() {
    let (scene, port) = start().await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // The connector may already have closed the connection.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").await;
        slow.push(stream);
    }
    assert_serves(&scene, port).await;
    // At the end all connections are closed, with or without an error response.
    let start = Instant::now();
    for answer in join_all(slow.iter_mut().map(http::read)).await {
        assert!(answer.is_err() || answer.unwrap().status >= 400);
    }
    assert!(start.elapsed() < Duration::from_secs(15));
    assert_serves(&scene, port).await;
}

#[tokio::test]
async fn many_clients_at_once_are_served_or_closed() {
    let (scene, port) = start().await;
    let answers: Vec<io::Result<http::Response>> =
        join_all((0..200).map(|_| http::request(port, "GET", "/metrics"))).await;
    let served = answers.iter().flatten().filter(|response| response.status == 200).count();
    assert!(served > 0);
    assert_serves(&scene, port).await;
}

#[tokio::test]
async fn without_free_file_descriptors_clients_wait_without_a_busy_loop() {
    let (scene, port) = start().await;
    ready(port).await;
    let pid = Pid::from_raw(i32::try_from(scene.connector.pid()).unwrap());
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit { current: Some(3), ..limit };
    prlimit(pid, Resource::Nofile, none).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    scene.connector.line("a connection for health and metrics cannot be accepted").await;
    let before = processor_time(&scene);
    assert!(scene.request("state", "[]").await["agents"].is_object());
    let pause = Duration::from_secs(1);
    tokio::time::sleep(pause).await;
    let spent = processor_time(&scene) - before;
    assert!(spent < pause / 4, "{spent:?} of {pause:?}");
    prlimit(pid, Resource::Nofile, limit).unwrap();
    assert_eq!(http::read(&mut stream).await.unwrap().status, 200);
    let log = scene.connector.output();
    let lines = log
        .iter()
        .filter(|line| line.contains("a connection for health and metrics cannot be accepted"))
        .count();
    assert_eq!(lines, 1, "it is reported only once");
}

/// The processor time of the connector.
fn processor_time(scene: &Scene) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", scene.connector.pid())).unwrap();
    // The fields follow the name of the program, which may contain spaces. The unit is 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 =
        [11, 12].map(|index: usize| fields[index].parse::<u64>().unwrap()).iter().sum();
    Duration::from_millis(10 * ticks)
}

#[tokio::test]
async fn garbage_is_refused() {
    let (scene, port) = start().await;
    let get = "GET /livez HTTP/1.1\r\nHost: x\r\n";
    let huge_header = format!("{get}X: {}\r\n\r\n", "x".repeat(1_000_000));
    let many_headers = format!("{get}{}\r\n", "X: y\r\n".repeat(10_000));
    let long_path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1_000_000));
    let tls = "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03".to_owned();
    for bytes in [huge_header, many_headers, long_path, tls, "\r\n\r\n\0\0\r\n\r\n".to_owned()] {
        // Unread input at the close of a connection may have discarded the response.
        if let Ok(response) = http::send(port, &bytes).await {
            assert!((400..500).contains(&response.status), "{response:?}");
        }
    }
    // The first request is answered, and the bytes after it are ignored.
    let pipelined = format!("{get}\r\nnonsense\r\n\r\n{get}\r\n");
    if let Ok(response) = http::send(port, &pipelined).await {
        assert_eq!((response.status, response.body.as_str()), (200, "{\"alive\":true}\n"));
    }
    let body = format!("POST /livez HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n{pipelined}");
    if let Ok(response) = http::send(port, &body).await {
        assert_eq!(response.status, 405);
    }
    assert_serves(&scene, port).await;
}
