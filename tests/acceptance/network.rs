//! Networks that are not just a line to the broker: HTTP proxies, WebSocket, and how the address of
//! the broker is written.

use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::support::certificates::{Authority, Certified};
use crate::support::connector::{BASE, start_connector_at};
use crate::support::http_proxy::{HttpProxy, Reaction};
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, DEADLINE, Process, eventually, free_port, skipped};

/// A name that no name server knows.
const BEHIND_PROXY: &str = "broker.behind-proxy.invalid";

/// A broker with a plain listener for operators, and others for the connector.
struct Network {
    broker: Broker,
    websocket: u16,
    secure_websocket: u16,
    secure: u16,
    authority: Authority,
    vehicle: Vehicle,
}

impl Network {
    async fn start() -> Self {
        let authority = Authority::new();
        let [websocket, secure_websocket, secure] = [free_port(), free_port(), free_port()];
        let certified = authority.certify(BEHIND_PROXY);
        let local = authority.certify("127.0.0.1");
        let tls = |certified: &Certified| {
            format!(
                "cafile {}\ncertfile {}\nkeyfile {}",
                authority.ca().display(),
                certified.cert.display(),
                certified.key.display()
            )
        };
        let broker = Broker::with(&[
            &format!("listener {websocket} 127.0.0.1\nprotocol websockets"),
            &format!("listener {secure_websocket} 127.0.0.1\nprotocol websockets\n{}", tls(&local)),
            &format!("listener {secure} 127.0.0.1\n{}", tls(&certified)),
        ])
        .await;
        let vehicle = Vehicle::start().await;
        Self { broker, websocket, secure_websocket, secure, authority, vehicle }
    }

    fn connect(&self, port: u16, settings: &[(&str, &str)]) -> Process {
        start_connector_at(port, self.vehicle.control_interface(), settings)
    }

    /// Asserts that a connector serves requests, small ones and large ones.
    async fn serves(&self, connector: &Process) {
        connector.line("ready for requests").await;
        connector.line("the link to Ankaios is up").await;
        let state = self.broker.request(&format!("{BASE}/state"), "[]", &[]).await.json();
        assert!(state["agents"].is_object(), "{state}");
        let manifest = format!("apiVersion: v1\nconfigs:\n  large: {}\n", "x".repeat(100_000));
        let validate = format!("{BASE}/manifest/validate");
        let valid = self.broker.request(&validate, &manifest, &[]).await.json();
        assert_eq!(valid["valid"], true, "{valid}");
    }

    fn ca(&self) -> String {
        self.authority.ca().to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn it_serves_over_websocket_with_and_without_tls() {
    let network = Network::start().await;
    let websocket = ("MQTT_TRANSPORT", "websocket");
    let mut connector = network.connect(network.websocket, &[websocket]);
    network.serves(&connector).await;
    assert_eq!(connector.terminate().await.code(), Some(0));
    let ca = network.ca();
    let connector = network.connect(
        network.secure_websocket,
        &[websocket, ("MQTT_WEBSOCKET_PATH", "/any"), ("MQTT_CA_FILE", &ca)],
    );
    network.serves(&connector).await;
}

#[tokio::test]
async fn websocket_and_mqtt_on_the_wrong_port_are_named() {
    let network = Network::start().await;
    let connector = network.connect(network.broker.port(), &[("MQTT_TRANSPORT", "websocket")]);
    let line = connector.line("no connection to the MQTT broker").await;
    assert!(line.contains("set MQTT_TRANSPORT=tcp"), "{line}");
    let connector = network.connect(network.websocket, &[]);
    let line = connector.line("no connection to the MQTT broker").await;
    assert!(line.contains("set MQTT_TRANSPORT=websocket"), "{line}");
    let answer = Reaction::Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let server = HttpProxy::start(answer, None).await;
    // This server waits for an empty line, which the topic of the last will cannot contain.
    let connector = network.connect(server.port(), &[("MQTT_CLIENT_ID", "\r\n\r\n")]);
    let line = connector.line("it is not an MQTT broker: it answers in HTTP").await;
    assert!(line.contains("set MQTT_TRANSPORT=websocket"), "{line}");
}

#[tokio::test]
async fn a_web_server_without_mqtt_is_named() {
    let vehicle = Vehicle::start().await;
    for (answer, expected) in [
        ("HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://x/\r\n\r\n",
            "set MQTT_BROKER_ADDR=x:443 MQTT_TLS=true MQTT_TRANSPORT=websocket MQTT_WEBSOCKET_PATH=/",
        ),
        ("HTTP/1.1 429 Too Many Requests\r\n\r\n", "too many connections"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "forbids it"),
    ] {
        let server = HttpProxy::start(Reaction::Answer(answer.into()), None).await;
        let settings = [("MQTT_TRANSPORT", "websocket"), ("MQTT_WEBSOCKET_PATH", "/a?b=c")];
        let connector = start_connector_at(server.port(), vehicle.control_interface(), &settings);
        let line = connector.line("no connection to the MQTT broker").await;
        assert!(line.contains(expected), "{line}");
        assert!(line.contains("retry_in=5s"), "{line}");
        assert!(server.requests()[0].starts_with("GET /a?b=c HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn a_proxy_leads_to_a_broker_that_only_it_knows() {
    let network = Network::start().await;
    let proxy = HttpProxy::start(Reaction::Tunnel(network.broker.port()), None).await;
    let url = format!("http://user:p%40ss@127.0.0.1:{}", proxy.port());
    let address = ("MQTT_BROKER_ADDR", BEHIND_PROXY);
    let connector = network.connect(443, &[address, ("HTTPS_PROXY", &url)]);
    network.serves(&connector).await;
    let request = &proxy.requests()[0];
    assert!(request.starts_with(&format!("CONNECT {BEHIND_PROXY}:443 HTTP/1.1\r\n")), "{request}");
    assert!(request.to_lowercase().contains("\r\nproxy-authorization: basic dxnlcjpwqhnz\r\n"));
    let log = connector.output().join("\n");
    assert!(log.contains(&format!("proxy=http://127.0.0.1:{}", proxy.port())), "{log}");
    assert!(!log.contains("p@ss") && !log.contains("p%40ss"), "{log}");
}

#[tokio::test]
async fn tls_and_websocket_go_through_a_proxy() {
    let network = Network::start().await;
    let ca = network.ca();
    let proxy = HttpProxy::start(Reaction::Tunnel(network.secure), None).await;
    let url = format!("127.0.0.1:{}", proxy.port());
    let address = ("MQTT_BROKER_ADDR", BEHIND_PROXY);
    let settings = [address, ("MQTT_CA_FILE", &ca), ("all_proxy", &url)];
    let connector = network.connect(8883, &settings);
    network.serves(&connector).await;
    drop(connector);
    let proxy = HttpProxy::start(Reaction::Tunnel(network.websocket), None).await;
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let settings = [address, ("MQTT_TRANSPORT", "websocket"), ("https_proxy", &url)];
    let connector = network.connect(80, &settings);
    network.serves(&connector).await;
}

#[tokio::test]
async fn the_proxy_itself_may_use_tls() {
    let network = Network::start().await;
    let authority = Authority::new();
    let certified = authority.certify("127.0.0.1");
    let chain = vec![CertificateDer::from_pem_file(&certified.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&certified.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let proxy = HttpProxy::start(Reaction::Tunnel(network.secure), Some(acceptor)).await;
    let url = format!("https://127.0.0.1:{}", proxy.port());
    let (ca, proxy_ca) = (network.ca(), authority.ca());
    let settings = [
        ("MQTT_BROKER_ADDR", BEHIND_PROXY),
        ("MQTT_CA_FILE", &ca),
        ("SSL_CERT_FILE", proxy_ca.to_str().unwrap()),
        ("HTTPS_PROXY", &url),
    ];
    let connector = network.connect(8883, &settings);
    network.serves(&connector).await;
    // Without the certificate of its authority, the proxy is named, not the broker.
    let connector = network.connect(8883, &[settings[0], settings[1], settings[3]]);
    let line = connector.line("no connection to the MQTT broker").await;
    assert!(line.contains(&format!("the proxy {url} cannot be reached")), "{line}");
    assert!(line.contains("those in SSL_CERT_FILE"), "{line}");
}

#[tokio::test]
async fn the_proxy_is_named_when_it_is_the_cause() {
    let vehicle = Vehicle::start().await;
    let endless = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &vec![b'a'; 1_000_000]].concat();
    for (answer, error, help) in [
        (b"HTTP/1.1 407 x\r\n\r\n".to_vec(), "HTTP status 407", "it requires a login"),
        (b"HTTP/1.1 403 x\r\n\r\n".to_vec(), "HTTP status 403", "it must allow CONNECT to"),
        (b"HTTP/1.1 502 x\r\n\r\n".to_vec(), "HTTP status 502", "it cannot reach"),
        (b"220 ftp ready\r\n".to_vec(), "does not answer with HTTP", "check HTTPS_PROXY"),
        (endless, "longer than allowed", "check HTTPS_PROXY"),
        (Vec::new(), "closes the connection", "check HTTPS_PROXY"),
    ] {
        let proxy = HttpProxy::start(Reaction::Answer(answer), None).await;
        let url = format!("http://127.0.0.1:{}", proxy.port());
        let settings = [("MQTT_BROKER_ADDR", BEHIND_PROXY), ("HTTPS_PROXY", &url)];
        let connector = start_connector_at(1883, vehicle.control_interface(), &settings);
        let line = connector.line("no connection to the MQTT broker").await;
        assert!(line.contains(&format!("the proxy {url} ")), "{line}");
        assert!(line.contains(error) && line.contains(help), "{line}");
    }
    let url = format!("http://127.0.0.1:{}", free_port());
    let connector = start_connector_at(1883, vehicle.control_interface(), &[("HTTPS_PROXY", &url)]);
    let line = connector.line("no connection to the MQTT broker").await;
    let expected = format!("the proxy {url} cannot be reached: Connection refused");
    assert!(line.contains(&expected), "{line}");
}

#[tokio::test]
async fn a_broker_in_no_proxy_is_reached_directly() {
    let network = Network::start().await;
    let settings = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "localhost,127.0.0.0/8")];
    let connector = network.connect(network.broker.port(), &settings);
    network.serves(&connector).await;
    connector.line("NO_PROXY covers the broker").await;
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_refused_at_start() {
    let vehicle = Vehicle::start().await;
    let folder = vehicle.control_interface();
    for (settings, expected) in [
        (
            vec![("HTTPS_PROXY", "socks5://user:secret@proxy:1080")],
            "HTTPS_PROXY: socks5 proxies are not supported",
        ),
        (vec![("https_proxy", "http://user:se#cret@proxy")], "https_proxy: it is not the URL"),
        // The password would leave this machine.
        (vec![("HTTPS_PROXY", "proxy:3128"), ("MQTT_USERNAME", "1")], "MQTT_USERNAME: without TLS"),
    ] {
        let mut connector = start_connector_at(1883, folder, &settings);
        assert_eq!(connector.wait().await.code(), Some(64));
        connector.line(expected).await;
        assert!(!connector.output().join("\n").contains("cret"));
    }
}

#[tokio::test]
async fn the_port_may_be_part_of_the_address() {
    let network = Network::start().await;
    let port = network.broker.port();
    for address in [format!("127.0.0.1:{port}"), format!("[::ffff:127.0.0.1]:{port}")] {
        let settings = [("MQTT_BROKER_ADDR", address.as_str()), ("MQTT_BROKER_PORT", "")];
        let mut connector = network.connect(1, &settings);
        network.serves(&connector).await;
        connector.terminate().await;
    }
    let mut connector = network.connect(1884, &[("MQTT_BROKER_ADDR", "localhost:1883")]);
    assert_eq!(connector.wait().await.code(), Some(64));
    connector.line("it is 1884, but MQTT_BROKER_ADDR=localhost:1883 says 1883").await;
}

#[tokio::test]
async fn ipv6_is_possible_with_and_without_brackets() {
    let test = "ipv6_is_possible_with_and_without_brackets";
    if TcpListener::bind("[::1]:0").is_err() {
        return skipped(test, "there is no IPv6");
    }
    let port = free_port();
    let mut network = Network::start().await;
    network.broker = Broker::with(&[&format!("listener {port} ::1")]).await;
    for (address, port_setting) in [
        (format!("[::1]:{port}"), String::new()),
        ("::1".into(), port.to_string()),
        ("[0:0:0:0:0:0:0:1]".into(), port.to_string()),
    ] {
        let settings = [("MQTT_BROKER_ADDR", &*address), ("MQTT_BROKER_PORT", &port_setting)];
        let mut connector = network.connect(1, &settings);
        network.serves(&connector).await;
        connector.terminate().await;
    }
}

/// The ports of the broker that a connector is connected to, one for each connection.
fn connected_to(connector: &Process) -> Vec<u16> {
    let output = connector.output();
    let lines = output.iter().filter(|line| line.contains(" connected to the MQTT broker"));
    lines
        .map(|line| {
            let (_, address) = line.split_once("broker=127.0.0.1:").unwrap();
            address.split(' ').next().unwrap().parse().unwrap()
        })
        .collect()
}

/// Without the addresses of the standby, this fails in three of four runs.
#[tokio::test]
async fn a_replica_becomes_active_on_the_node_where_it_was_standby() {
    let broker = Broker::start().await;
    let ports = [free_port(), free_port(), free_port(), broker.port()];
    let addresses = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let vehicle = Vehicle::start().await;
    let settings = [
        ("MQTT_BROKER_ADDR", addresses.as_str()),
        ("MQTT_BROKER_PORT", ""),
        ("REPLICA_ID", "a"),
        ("MQTT_KEEP_ALIVE", "5s"),
    ];
    let connector = start_connector_at(0, vehicle.control_interface(), &settings);
    connector.line("ready for requests").await;
    broker.request(&format!("{BASE}/state"), "[]", &[]).await.json();
    let activations =
        connector.output().iter().filter(|line| line.contains("becomes active")).count();
    assert_eq!(activations, 1);
}

#[tokio::test]
async fn a_connector_goes_to_another_node_when_its_own_is_gone() {
    let mut nodes = [Broker::start().await, Broker::start().await, Broker::start().await];
    let addresses: Vec<String> =
        nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let addresses = addresses.join(",");
    let vehicle = Vehicle::start().await;
    let settings = [("MQTT_BROKER_ADDR", addresses.as_str()), ("MQTT_BROKER_PORT", "")];
    let connector = start_connector_at(0, vehicle.control_interface(), &settings);
    let mut served = 0;
    // Only one is left in the end.
    for gone in 0..3 {
        eventually("it is connected", DEADLINE, async || {
            (connected_to(&connector).len() > served).then_some(())
        })
        .await;
        served = connected_to(&connector).len();
        let port = connected_to(&connector).pop().unwrap();
        let own = nodes.iter_mut().find(|node| node.port() == port).unwrap();
        own.request(&format!("{BASE}/state"), "[]", &[]).await.json();
        if gone < 2 {
            own.kill().await;
        }
    }
    let mut all = connected_to(&connector);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 3);
    let start = connector.line(" fleet connector ").await;
    for node in &nodes {
        assert!(start.contains(&format!("127.0.0.1:{}", node.port())), "{start}");
    }
}
