//! Names of brokers: several addresses, of which some lead nowhere, and name servers that do not
//! answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::connector::{start_connector_at, start_connector_binary};
use crate::support::name_server::{NameServer, Says};
use crate::support::sandbox::Sandbox;
use crate::support::scripted_broker::ScriptedBroker;
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, Process, free_port, skipped};

/// The name of a broker at 127.0.0.9, whose first address is 127.0.0.1.
const TWO_ADDRESSES: &str = "127.0.0.1 broker.test\n127.0.0.9 broker.test\n";

/// A sandbox for the connector, if this system allows one.
fn sandbox(test: &str, path: &str, content: &str) -> Option<Sandbox> {
    Sandbox::with(test, env!("CARGO_BIN_EXE_fleet-connector"), path, content)
}

/// A broker that has a listener at 127.0.0.9 only, and its port.
async fn at_second_address() -> (Broker, u16) {
    let port = free_port();
    (Broker::with(&[&format!("listener {port} 127.0.0.9")]).await, port)
}

/// Asserts that the connector stops without a delay.
async fn stops_at_once(mut connector: Process) {
    let begin = Instant::now();
    assert_eq!(connector.terminate().await.code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_leads_nowhere() {
    let test = "the_next_address_is_tried_when_one_leads_nowhere";
    let Some(sandbox) = sandbox(test, "/etc/hosts", TWO_ADDRESSES) else { return };
    let (_broker, port) = at_second_address().await;
    let _hole = black_hole(SocketAddr::from(([127, 0, 0, 1], port))).await;
    let vehicle = Vehicle::start().await;
    let begin = Instant::now();
    let settings = [("MQTT_BROKER_ADDR", "broker.test")];
    let folder = vehicle.control_interface();
    let connector = start_connector_binary(&sandbox.program, port, folder, &settings);
    connector.line("ready for requests").await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    connector.line(&format!("connecting address=127.0.0.1:{port}")).await;
}

/// Makes an address that does not answer any more: its queue of connections is full. Returns what
/// keeps it so.
async fn black_hole(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    // The port may have connections of an earlier run in TIME-WAIT.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(0).unwrap();
    let mut streams = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        streams.push(stream.unwrap());
    }
    (listener, streams)
}

#[tokio::test]
async fn an_address_that_never_answers_comes_last_the_next_time() {
    let test = "an_address_that_never_answers_comes_last_the_next_time";
    let Some(sandbox) = sandbox(test, "/etc/hosts", TWO_ADDRESSES) else { return };
    let (_broker, port) = at_second_address().await;
    // It accepts connections and says nothing.
    let _silent = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let vehicle = Vehicle::start().await;
    let settings = [("MQTT_BROKER_ADDR", "broker.test")];
    let folder = vehicle.control_interface();
    let connector = start_connector_binary(&sandbox.program, port, folder, &settings);
    connector.line("the broker does not answer within 10s").await;
    connector.line("ready for requests").await;
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_is_named_and_delays_no_stop() {
    let test = "a_name_server_that_does_not_answer_is_named_and_delays_no_stop";
    let settings = "nameserver 127.0.0.9\noptions timeout:5 attempts:3\n";
    let Some(sandbox) = sandbox(test, "/etc/resolv.conf", settings) else { return };
    let Some(_name_server) = NameServer::start(test, "127.0.0.9", false).await else { return };
    let vehicle = Vehicle::start().await;
    let folder = vehicle.control_interface();
    let settings = [("MQTT_BROKER_ADDR", "broker.fleet.example")];
    let connector = start_connector_binary(&sandbox.program, 1883, folder, &settings);
    let line = connector.line("no connection to the MQTT broker").await;
    let expected = "the name broker.fleet.example is not resolved: no answer from the name server \
                    within 8s";
    assert!(line.contains(expected), "{line}");
    stops_at_once(connector).await;
}

#[tokio::test]
async fn the_second_name_server_is_asked_when_the_first_one_does_not_answer() {
    let test = "the_second_name_server_is_asked_when_the_first_one_does_not_answer";
    let settings = "nameserver 127.0.0.10\nnameserver 127.0.0.11\n";
    let Some(sandbox) = sandbox(test, "/etc/resolv.conf", settings) else { return };
    let Some(_silent) = NameServer::start(test, "127.0.0.10", false).await else { return };
    let Some(_answers) = NameServer::start(test, "127.0.0.11", true).await else { return };
    let broker = Broker::start().await;
    let vehicle = Vehicle::start().await;
    let folder = vehicle.control_interface();
    let settings = [("MQTT_BROKER_ADDR", "broker.fleet.example")];
    let connector = start_connector_binary(&sandbox.program, broker.port(), folder, &settings);
    connector.line("ready for requests").await;
    assert!(!connector.output().join("\n").contains("no connection to the MQTT broker"));
}

/// The name of a broker that some name servers know.
const NAME: &str = "broker.fleet.example";

/// A connector that looks up the name of a broker at its name servers.
struct Resolving {
    connector: Process,
    port: u16,
    _broker: Broker,
    _vehicle: Vehicle,
    _sandbox: Sandbox,
}

impl Resolving {
    async fn start(test: &str, resolv_conf: &str, name: &str) -> Option<Self> {
        let sandbox = sandbox(test, "/etc/resolv.conf", resolv_conf)?;
        let port = free_port();
        let mut listeners = vec![format!("listener {port} 127.0.0.1")];
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            listeners.push(format!("listener {port} ::1"));
        }
        let listeners: Vec<_> = listeners.iter().map(String::as_str).collect();
        let broker = Broker::with(&listeners).await;
        let vehicle = Vehicle::start().await;
        let settings = [("MQTT_BROKER_ADDR", name)];
        let folder = vehicle.control_interface();
        let connector = start_connector_binary(&sandbox.program, port, folder, &settings);
        Some(Self { connector, port, _broker: broker, _vehicle: vehicle, _sandbox: sandbox })
    }

    /// Asserts that the broker is reached at the first attempt.
    async fn connects(&self) {
        self.connector.line("ready for requests").await;
        assert!(!self.connector.output().join("\n").contains("no connection to the MQTT broker"));
    }
}

#[tokio::test]
async fn a_fast_name_server_that_does_not_know_the_name_does_not_hide_the_first_one() {
    let test = "a_fast_name_server_that_does_not_know_the_name_does_not_hide_the_first_one";
    let local = |_: &str| Says::Late(Duration::from_millis(300));
    let Some(_local) = NameServer::with(test, "127.0.0.14", local).await else { return };
    let Some(public) = NameServer::with(test, "127.0.0.15", |_| Says::NoName).await else { return };
    let resolv_conf = "nameserver 127.0.0.14\nnameserver 127.0.0.15\n";
    let Some(resolving) = Resolving::start(test, resolv_conf, NAME).await else { return };
    resolving.connects().await;
    assert_eq!(public.names(), [""; 0]);
}

#[tokio::test]
async fn search_domains_are_for_names_with_dots_too() {
    let test = "search_domains_are_for_names_with_dots_too";
    let zone = |name: &str| match name {
        "broker.sub.search.test" => Says::V4,
        _ => Says::NoName,
    };
    let Some(server) = NameServer::with(test, "127.0.0.16", zone).await else { return };
    let resolv_conf = "nameserver 127.0.0.16\nsearch x.test search.test\n";
    let Some(resolving) = Resolving::start(test, resolv_conf, "broker.sub").await else { return };
    resolving.connects().await;
    let mut names = server.names();
    names.retain(|name| name.starts_with("broker"));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["broker.sub", "broker.sub.search.test", "broker.sub.x.test"]);
}

#[tokio::test]
async fn dots_decide_what_a_name_server_is_asked_first() {
    let test = "dots_decide_what_a_name_server_is_asked_first";
    let Some(server) = NameServer::with(test, "127.0.0.17", |_| Says::V4).await else { return };
    let resolv_conf = "nameserver 127.0.0.17\nsearch search.test\noptions ndots:3\n";
    for (name, expected) in [(NAME, "broker.fleet.example.search.test"), ("broker.a.", "broker.a")]
    {
        let Some(resolving) = Resolving::start(test, resolv_conf, name).await else { return };
        resolving.connects().await;
        let names = server.names();
        // Each name is asked for with both families; that all have IPv4 is asked at most once more.
        assert!(names.iter().rev().take(2).all(|name| name == expected), "{names:?}");
    }
}

#[tokio::test]
async fn an_answer_after_the_second_question_counts() {
    let test = "an_answer_after_the_second_question_counts";
    let zone = |_: &str| Says::Late(Duration::from_millis(1500));
    let Some(server) = NameServer::with(test, "127.0.0.18", zone).await else { return };
    let resolv_conf = "nameserver 127.0.0.18\noptions timeout:1\n";
    let Some(resolving) = Resolving::start(test, resolv_conf, NAME).await else { return };
    resolving.connects().await;
    assert!(server.names().len() > 2, "{:?}", server.names());
}

#[tokio::test]
async fn an_answer_that_is_too_long_for_udp_comes_by_tcp() {
    let test = "an_answer_that_is_too_long_for_udp_comes_by_tcp";
    let zone = |_: &str| Says::Truncated;
    let Some(_server) = NameServer::with(test, "127.0.0.19", zone).await else { return };
    let resolv_conf = "nameserver 127.0.0.19\n";
    let Some(resolving) = Resolving::start(test, resolv_conf, NAME).await else { return };
    resolving.connects().await;
}

#[tokio::test]
async fn a_name_may_have_ipv6_only() {
    let test = "a_name_may_have_ipv6_only";
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skipped(test, "there is no IPv6");
    }
    let Some(_server) = NameServer::with(test, "127.0.0.20", |_| Says::V6).await else { return };
    let resolv_conf = "nameserver 127.0.0.20\nsearch search.test\n";
    let Some(resolving) = Resolving::start(test, resolv_conf, NAME).await else { return };
    resolving.connects().await;
    let port = resolving.port;
    resolving.connector.line(&format!("connecting address=[::1]:{port}")).await;
}

#[tokio::test]
async fn a_refusal_is_named_unless_the_next_name_server_answers() {
    let test = "a_refusal_is_named_unless_the_next_name_server_answers";
    let Some(_refuses) = NameServer::with(test, "127.0.0.21", |_| Says::Refused).await else {
        return;
    };
    let Some(_knows) = NameServer::with(test, "127.0.0.22", |_| Says::V4).await else { return };
    let resolv_conf = "nameserver 127.0.0.21\nnameserver 127.0.0.22\n";
    let Some(resolving) = Resolving::start(test, resolv_conf, NAME).await else { return };
    resolving.connects().await;
    let alone = "nameserver 127.0.0.21\n";
    let Some(resolving) = Resolving::start(test, alone, NAME).await else { return };
    let line = resolving.connector.line("no connection to the MQTT broker").await;
    let expected =
        "the name broker.fleet.example is not resolved: the name server refuses to answer";
    assert!(line.contains(expected), "{line}");
    assert!(line.contains("check the name servers in /etc/resolv.conf"), "{line}");
}

#[tokio::test]
async fn name_servers_that_fall_silent_later_delay_no_stop() {
    let test = "name_servers_that_fall_silent_later_delay_no_stop";
    let settings = "nameserver 127.0.0.12\n";
    let Some(sandbox) = sandbox(test, "/etc/resolv.conf", settings) else { return };
    let Some(name_server) = NameServer::start(test, "127.0.0.12", true).await else { return };
    let mut broker = Broker::start().await;
    let vehicle = Vehicle::start().await;
    let folder = vehicle.control_interface();
    let settings = [("MQTT_BROKER_ADDR", "broker.fleet.example")];
    let connector = start_connector_binary(&sandbox.program, broker.port(), folder, &settings);
    connector.line("ready for requests").await;
    name_server.fall_silent();
    broker.kill().await;
    connector.line("the name broker.fleet.example is not resolved").await;
    stops_at_once(connector).await;
}

#[tokio::test]
async fn a_name_of_the_health_server_that_is_not_resolved_delays_no_stop() {
    let test = "a_name_of_the_health_server_that_is_not_resolved_delays_no_stop";
    let settings = "nameserver 127.0.0.13\n";
    let Some(sandbox) = sandbox(test, "/etc/resolv.conf", settings) else { return };
    let Some(name_server) = NameServer::start(test, "127.0.0.13", false).await else { return };
    let folder = TempDir::new().unwrap();
    let settings = [("HEALTH_ADDR", "health.fleet.example:9090")];
    let connector = start_connector_binary(&sandbox.program, 1883, folder.path(), &settings);
    name_server.asked().await;
    stops_at_once(connector).await;
}

#[tokio::test]
async fn a_stop_while_the_broker_does_not_answer_is_not_delayed() {
    let broker = ScriptedBroker::start().await;
    let vehicle = Vehicle::start().await;
    let connector = start_connector_at(broker.port(), vehicle.control_interface(), &[]);
    let _connection = broker.accept().await;
    stops_at_once(connector).await;
}
