//! TLS and login, against a real Mosquitto with certificates generated for the test.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::certificates::{Authority, Certified};
use crate::support::connector::{BASE, start_connector_at};
use crate::support::vehicle::Vehicle;
use crate::support::{Broker, DEADLINE, Process, eventually, free_port, http, scene};

/// A Mosquitto with a second listener for TLS, or with a login. Operators use the first
/// listener, which requires neither.
struct SecureBroker {
    broker: Broker,
    secure: u16,
    vehicle: Vehicle,
}

impl SecureBroker {
    /// Starts a broker; `lines` configure the second listener.
    async fn with(server: &Certified, ca: &Path, lines: &[&str]) -> Self {
        let secure = free_port();
        let mut config = vec![
            format!("listener {secure} 127.0.0.1"),
            format!("cafile {}", ca.display()),
            format!("certfile {}", server.cert.display()),
            format!("keyfile {}", server.key.display()),
        ];
        config.extend(lines.iter().map(|&line| line.to_owned()));
        let config: Vec<_> = config.iter().map(String::as_str).collect();
        Self::of(&config, secure).await
    }

    async fn of(config: &[&str], secure: u16) -> Self {
        let broker = Broker::with(config).await;
        Self { broker, secure, vehicle: Vehicle::start().await }
    }

    fn connect(&self, settings: &[(&str, &str)]) -> Process {
        start_connector_at(self.secure, self.vehicle.control_interface(), settings)
    }

    async fn serves(&self, connector: &Process) {
        connector.line("ready for requests").await;
        connector.line("the link to Ankaios is up").await;
        let state = self.broker.request(&format!("{BASE}/state"), "[]", &[]).await.json();
        assert!(state["agents"].is_object(), "{state}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn it_serves_over_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let server = authority.certify("127.0.0.1");
    let ca = authority.ca();
    for version in ["tlsv1.2", "tlsv1.3"] {
        let lines = [&*format!("tls_version {version}")];
        let secure_broker = SecureBroker::with(&server, &ca, &lines).await;
        // Protocol versions that the broker does not know do no harm.
        let connector =
            secure_broker.connect(&[("MQTT_CA_FILE", text(&ca)), ("MQTT_ALPN", "mqtt")]);
        secure_broker.serves(&connector).await;
    }
}

#[tokio::test]
async fn the_certificates_of_the_system_are_used_without_a_file() {
    let authority = Authority::new();
    let server = authority.certify("127.0.0.1");
    let secure_broker = SecureBroker::with(&server, &authority.ca(), &[]).await;
    let ca = authority.ca();
    let connector = secure_broker.connect(&[("MQTT_TLS", "true"), ("SSL_CERT_FILE", text(&ca))]);
    secure_broker.serves(&connector).await;
}

#[tokio::test]
async fn a_broker_that_requires_a_client_certificate_receives_it() {
    let authority = Authority::new();
    let server = authority.certify("127.0.0.1");
    let vehicle = authority.certify("vehicle-1");
    let ca = authority.ca();
    for version in ["tlsv1.2", "tlsv1.3"] {
        let lines = ["require_certificate true", &*format!("tls_version {version}")];
        let secure_broker = SecureBroker::with(&server, &ca, &lines).await;
        let without = secure_broker.connect(&[("MQTT_CA_FILE", text(&ca))]);
        without.line("check MQTT_CERT_FILE and MQTT_KEY_FILE").await;
        drop(without);
        let connector = secure_broker.connect(&[
            ("MQTT_CA_FILE", text(&ca)),
            ("MQTT_CERT_FILE", text(&vehicle.cert)),
            ("MQTT_KEY_FILE", text(&vehicle.key)),
        ]);
        secure_broker.serves(&connector).await;
    }
}

#[tokio::test]
async fn a_wrong_certificate_is_named_and_a_correct_one_is_used_without_a_restart() {
    let authority = Authority::new();
    let server = authority.certify("127.0.0.1");
    let secure_broker = SecureBroker::with(&server, &authority.ca(), &[]).await;
    let ca = authority.folder().join("known.pem");
    std::fs::copy(Authority::new().ca(), &ca).unwrap();
    let connector = secure_broker.connect(&[("MQTT_CA_FILE", text(&ca))]);
    connector.line("set MQTT_CA_FILE to the certificate of its CA").await;
    std::fs::write(&ca, "half a fi").unwrap();
    connector.line("it contains no certificate in PEM format").await;
    std::fs::copy(authority.ca(), &ca).unwrap();
    secure_broker.serves(&connector).await;
}

#[tokio::test]
async fn an_expired_certificate_and_one_for_another_host_are_refused() {
    let authority = Authority::new();
    let ca = authority.ca();
    for (server, help) in [
        (authority.certify_expired("127.0.0.1"), "has expired; renew it, or correct the clock"),
        (authority.certify("broker.example"), "set MQTT_BROKER_ADDR to a name in the certificate"),
        (authority.certify_as_name("127.0.0.1"), "an address must be IP:127.0.0.1"),
    ] {
        let secure_broker = SecureBroker::with(&server, &ca, &[]).await;
        let connector = secure_broker.connect(&[("MQTT_CA_FILE", text(&ca))]);
        connector.line(help).await;
        // It continues to try.
        connector.line(help).await;
    }
}

#[tokio::test]
async fn the_documented_commands_create_certificates_that_are_accepted() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls.md");
    let document = std::fs::read_to_string(document).unwrap();
    let blocks = document.split("```shell\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let [create, check] = blocks.take(2).collect::<Vec<_>>().try_into().unwrap();
    let create = create.replace("DNS:broker.example", "IP:127.0.0.1");
    let folder = tempfile::TempDir::new().unwrap();
    let run = |commands: &str| {
        let output =
            Command::new("sh").args(["-ec", commands]).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{commands}\n{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&create);
    assert!(run(check).contains("IP Address:127.0.0.1"));
    let file = |name| folder.path().join(name);
    let server = Certified { cert: file("server.pem"), key: file("server.key") };
    let lines = ["require_certificate true"];
    let secure_broker = SecureBroker::with(&server, &file("ca.pem"), &lines).await;
    let port = free_port();
    let health = format!("127.0.0.1:{port}");
    let connector = secure_broker.connect(&[
        ("MQTT_CA_FILE", text(&file("ca.pem"))),
        ("MQTT_CERT_FILE", text(&file("vehicle.pem"))),
        ("MQTT_KEY_FILE", text(&file("vehicle.key"))),
        ("HEALTH_ADDR", &health),
    ]);
    secure_broker.serves(&connector).await;
    let metrics = http::get(port, "/metrics").await.body;
    let name = "fleet_connector_mqtt_client_certificate_expiry_timestamp_seconds ";
    let end = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let left = UNIX_EPOCH + Duration::from_secs(end.parse().unwrap());
    let days = left.duration_since(SystemTime::now()).unwrap().as_secs() / 86_400;
    assert!((88..=90).contains(&days), "{days} days");
}

/// The command of a shell for a self-signed certificate, without its `-out new.pem`.
const SELF_SIGNED: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                           -days 30 -subj /CN=b -addext subjectAltName=IP:127.0.0.1 \
                           -keyout new.key";

/// The commands of a shell for `new.pem`, signed with these options of `openssl x509`.
fn sign(options: &str) -> String {
    format!(
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 \
         -keyout new.key -out new.csr
         openssl x509 -req -in new.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
         -out new.pem {options}"
    )
}

/// The commands of a shell for a certificate with these extensions.
fn extended(extensions: &str) -> String {
    format!("printf '{extensions}' > new.ext\n{}", sign("-extfile new.ext"))
}

#[tokio::test]
async fn what_is_wrong_with_the_certificate_of_the_broker_is_named() {
    const CREATE: &str = "(echo basicConstraints=CA:FALSE; echo subjectAltName=IP:127.0.0.1) > \
                          server.ext && openssl x509 -req";
    let authority = Authority::new();
    let ca_as_server = format!("{SELF_SIGNED} -CA ca.pem -CAkey ca.key -out new.pem");
    let other = format!("{SELF_SIGNED} -addext basicConstraints=CA:FALSE -out new.pem");
    for (commands, expected) in [
        (sign(""), &["has X.509 version 1", "version 3 with subjectAltName", CREATE][..]),
        (
            extended("basicConstraints=CA:FALSE"),
            &["it has no subjectAltName, and the common name (CN=127.0.0.1)", CREATE],
        ),
        (
            extended("subjectAltName=DNS:broker.example"),
            &[
                "set MQTT_BROKER_ADDR to a name in the certificate, which has broker.example",
                CREATE,
            ],
        ),
        (
            extended("subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=clientAuth"),
            &["must not be used for a server, only for client authentication"],
        ),
        (ca_as_server, &["is that of a CA, as `openssl req -x509` creates it", CREATE]),
        (other, &["has signed it itself, and ", "set MQTT_CA_FILE to the certificate of its CA"]),
    ] {
        let server = authority.certify_with("server", &commands);
        let ca = authority.ca();
        let secure_broker = SecureBroker::with(&server, &ca, &[]).await;
        let connector = secure_broker.connect(&[("MQTT_CA_FILE", text(&ca))]);
        let line = connector.line("no connection to the MQTT broker").await;
        for part in expected {
            assert!(line.contains(part), "{part:?} is missing in {line}");
        }
        assert!(!line.contains("OtherError"), "{line}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_names_the_clock() {
    let authority = Authority::new();
    let server = authority.certify_for_years("127.0.0.1", 2090, 2091);
    let secure_broker = SecureBroker::with(&server, &authority.ca(), &[]).await;
    let connector = secure_broker.connect(&[("MQTT_CA_FILE", text(&authority.ca()))]);
    let line = connector.line("its certificate is not valid yet; correct the clock").await;
    let period = "it is valid from 2090-01-01T00:00:00Z, and the clock of the vehicle says 20";
    assert!(line.contains(period), "{line}");
}

#[tokio::test]
async fn what_is_wrong_with_the_certificate_of_the_vehicle_is_named() {
    let authority = Authority::new();
    let (ca, server) = (authority.ca(), authority.certify("127.0.0.1"));
    let foreign = format!("{SELF_SIGNED} -out new.pem");
    for version in ["tlsv1.2", "tlsv1.3"] {
        let lines = ["require_certificate true", &*format!("tls_version {version}")];
        let secure_broker = SecureBroker::with(&server, &ca, &lines).await;
        for (vehicle, expected) in [
            (authority.certify_with("foreign", &foreign), &["it does not know its CA"][..]),
            (Authority::new().certify("1"), &["was the CA created again?"]),
            (
                authority.certify_with("purpose", &extended("extendedKeyUsage=serverAuth")),
                &["create it with extendedKeyUsage=clientAuth"],
            ),
            (
                authority.certify_expired("expired"),
                &["the client certificate has expired; renew it", "(it says CertificateExpired)"],
            ),
        ] {
            let connector = secure_broker.connect(&[
                ("MQTT_CA_FILE", text(&ca)),
                ("MQTT_CERT_FILE", text(&vehicle.cert)),
                ("MQTT_KEY_FILE", text(&vehicle.key)),
            ]);
            for part in expected {
                connector.line(part).await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_identifier_that_is_not_allowed_is_not_taken_for_a_missing_login() {
    let authority = Authority::new();
    let (ca, vehicle) = (authority.ca(), authority.certify("1"));
    let secure = free_port();
    let server = authority.certify("127.0.0.1");
    let config = [
        "clientid_prefixes thing-".to_owned(),
        format!("listener {secure} 127.0.0.1"),
        format!("cafile {}", ca.display()),
        format!("certfile {}", server.cert.display()),
        format!("keyfile {}", server.key.display()),
        "require_certificate true".to_owned(),
        "use_identity_as_username true".to_owned(),
    ];
    let config: Vec<_> = config.iter().map(String::as_str).collect();
    let secure_broker = SecureBroker::of(&config, secure).await;
    let settings = [
        ("MQTT_CA_FILE", text(&ca)),
        ("MQTT_CERT_FILE", text(&vehicle.cert)),
        ("MQTT_KEY_FILE", text(&vehicle.key)),
    ];
    let connector = secure_broker.connect(&settings);
    let line = connector.line("no connection to the MQTT broker").await;
    let identifier = format!("{:?}", "fleet-connector-1").replace('"', "\\\"");
    for part in [
        &*format!("does not allow the client identifier {identifier}: set MQTT_CLIENT_ID"),
        "allow the client certificate (MQTT_CERT_FILE) to connect",
    ] {
        assert!(line.contains(part), "{part:?} is missing in {line}");
    }
    let settings = [&settings[..], &[("MQTT_CLIENT_ID", "thing-1")]].concat();
    secure_broker.connect(&settings).line("ready for requests").await;
}

#[tokio::test]
async fn the_wrong_port_is_named() {
    let authority = Authority::new();
    let server = authority.certify("127.0.0.1");
    let ca = authority.ca();
    let secure_broker = SecureBroker::with(&server, &ca, &[]).await;
    let settings = [("MQTT_CA_FILE", text(&ca))];
    let folder = secure_broker.vehicle.control_interface();
    let connector = start_connector_at(secure_broker.broker.port(), folder, &settings);
    // Mosquitto closes the connection without a response if the input is not MQTT.
    connector.line("no connection to the MQTT broker").await;
    let connector = secure_broker.connect(&[]);
    connector.line("if it is a port for TLS, set MQTT_TLS=true").await;
}

/// A Mosquitto with a user `1` that may use only the topics of vehicle 1. Clients without a
/// user name may do everything.
async fn broker_with_login(authority: &Authority) -> SecureBroker {
    let passwords = authority.folder().join("passwords");
    let status = Command::new("mosquitto_passwd")
        .args(["-c", "-b", text(&passwords), "1", "s3cret"])
        .status();
    assert!(status.unwrap().success());
    let rules = authority.folder().join("rules");
    std::fs::write(&rules, "topic readwrite #\nuser 1\ntopic readwrite vehicle/1/#\n").unwrap();
    let secure = free_port();
    let config = [
        format!("password_file {}", passwords.display()),
        format!("acl_file {}", rules.display()),
        format!("listener {secure} 127.0.0.1"),
    ];
    let config: Vec<_> = config.iter().map(String::as_str).collect();
    SecureBroker::of(&config, secure).await
}

#[tokio::test]
async fn it_logs_in_with_a_password_that_can_be_changed_without_a_restart() {
    let authority = Authority::new();
    let secure_broker = broker_with_login(&authority).await;
    let password = authority.folder().join("password");
    std::fs::write(&password, "wr0ng\n").unwrap();
    let settings = [("MQTT_USERNAME", "1"), ("MQTT_PASSWORD_FILE", text(&password))];
    let connector = secure_broker.connect(&settings);
    connector.line("check MQTT_USERNAME and MQTT_PASSWORD_FILE").await;
    std::fs::write(&password, "s3cret\n").unwrap();
    secure_broker.serves(&connector).await;
    let log = connector.output().join("\n");
    assert!(!log.contains("s3cret") && !log.contains("wr0ng"), "{log}");
}

#[tokio::test]
async fn a_vehicle_cannot_use_the_topics_of_another_vehicle() {
    let authority = Authority::new();
    let secure_broker = broker_with_login(&authority).await;
    let password = authority.folder().join("password");
    std::fs::write(&password, "s3cret").unwrap();
    let neighbour = Vehicle::start().await;
    let settings = [("VIN", "2"), ("MQTT_USERNAME", "1"), ("MQTT_PASSWORD_FILE", text(&password))];
    let connector =
        start_connector_at(secure_broker.secure, neighbour.control_interface(), &settings);
    connector.line("the broker rejected a message").await;
    secure_broker.broker.publish("vehicle/2/state/req", "[]", &[]).await;
    let own =
        secure_broker.connect(&[("MQTT_USERNAME", "1"), ("MQTT_PASSWORD_FILE", text(&password))]);
    secure_broker.serves(&own).await;
    assert!(!connector.output().iter().any(|line| line.contains("operation=")));
    // Its status was denied: a retained message would arrive before this one.
    let mut seen = secure_broker.broker.subscribe("vehicle/2/#", &[]).await;
    secure_broker.broker.publish("vehicle/2/end", "", &[]).await;
    assert_eq!(seen.next().await.topic, "vehicle/2/end");
}

/// A Mosquitto with the access list of the documentation: vehicles authenticate with a
/// certificate, operators with a password.
async fn broker_of_a_fleet(authority: &Authority) -> SecureBroker {
    let passwords = authority.folder().join("passwords");
    for user in ["operator", "viewer"] {
        let create = if passwords.exists() { &[][..] } else { &["-c"] };
        let status = Command::new("mosquitto_passwd")
            .args(create)
            .args(["-b", text(&passwords), user, "s3cret"])
            .status();
        assert!(status.unwrap().success());
    }
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mosquitto.acl");
    let secure = free_port();
    let server = authority.certify("127.0.0.1");
    let config = [
        "persistence false".to_owned(),
        format!("password_file {}", passwords.display()),
        format!("acl_file {}", rules.display()),
        format!("listener {secure} 127.0.0.1"),
        format!("cafile {}", authority.ca().display()),
        format!("certfile {}", server.cert.display()),
        format!("keyfile {}", server.key.display()),
        "require_certificate true".to_owned(),
        "use_identity_as_username true".to_owned(),
        "use_username_as_clientid true".to_owned(),
    ];
    let config: Vec<_> = config.iter().map(String::as_str).collect();
    SecureBroker::of(&config, secure).await
}

const OPERATOR: [&str; 4] = ["-u", "operator", "-P", "s3cret"];
const VIEWER: [&str; 4] = ["-u", "viewer", "-P", "s3cret"];

/// Messages that only the vehicle may publish.
const ONLY_FROM_VEHICLES: [&str; 8] = [
    "connector/status",
    "connector/standby",
    "state/resp",
    "manifest/apply/status",
    "manifest/apply/forged/rollout",
    "events/forged",
    "events/forged/subscription",
    "logs/forged/subscription",
];

/// Waits until the log of the broker shows this many denied messages to vehicle 1.
async fn denied(broker: &Broker, number: usize) {
    let own = format!("'{BASE}/");
    eventually("the broker has denied them", DEADLINE, async || {
        let output = broker.process().output();
        let denied = output.iter().filter(|line| line.contains("Denied PUBLISH"));
        (denied.filter(|line| line.contains(&own)).count() == number).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_documented_access_list_grants_exactly_what_each_role_needs() {
    let authority = Authority::new();
    let secure_broker = broker_of_a_fleet(&authority).await;
    let ca = authority.ca();
    let identity = authority.certify("1");
    let settings = [
        ("MQTT_CA_FILE", text(&ca)),
        ("MQTT_CERT_FILE", text(&identity.cert)),
        ("MQTT_KEY_FILE", text(&identity.key)),
    ];
    // A connector with the certificate of vehicle 1 and another VIN is denied everything.
    let neighbour = Vehicle::start().await;
    let foreign = [&settings[..], &[("VIN", "2")]].concat();
    let foreign = start_connector_at(secure_broker.secure, neighbour.control_interface(), &foreign);
    foreign.line("the broker rejected a message").await;
    secure_broker.broker.publish("vehicle/2/state/req", "[]", &OPERATOR).await;
    assert!(!foreign.output().iter().any(|line| line.contains("operation=")));
    drop(foreign);

    let connector = secure_broker.connect(&settings);
    connector.line("ready for requests").await;
    connector.line("the link to Ankaios is up").await;
    let broker = &secure_broker.broker;
    let request = async |operation: &str, payload: &str, user: &[&str]| {
        broker.request(&format!("{BASE}/{operation}"), payload, user).await.json()
    };
    let mut seen = broker.subscribe("vehicle/#", &OPERATOR).await;
    let status = seen.next_on(&format!("{BASE}/connector/status")).await.json();
    assert_eq!(status["status"], "online");

    // Neither may publish what only the vehicle publishes: a status, a reply, a stream or a
    // record.
    for user in [OPERATOR, VIEWER] {
        for topic in ONLY_FROM_VEHICLES {
            let arguments = [&user[..], &["-r"]].concat();
            broker.publish(&format!("{BASE}/{topic}"), "forged", &arguments).await;
        }
    }
    denied(broker, 2 * ONLY_FROM_VEHICLES.len()).await;
    // A viewer cannot change anything.
    let manifest = scene::workload("nginx", "x");
    for (operation, payload) in [
        ("manifest/apply", manifest.as_str()),
        ("manifest/delete", &manifest),
        ("state/update", r#"{"update_mask": ["agents.agent_A.tags"], "state": {}}"#),
    ] {
        broker.publish(&format!("{BASE}/{operation}/req"), payload, &VIEWER).await;
    }
    denied(broker, 2 * ONLY_FROM_VEHICLES.len() + 3).await;
    // Messages are processed in order, so the first reply belongs to this request.
    broker.publish(&format!("{BASE}/state/req"), r#"["agents"]"#, &VIEWER).await;
    let first = seen.find("a reply", |message| message.topic.ends_with("/resp")).await;
    assert_eq!(first.topic, "vehicle/1/state/resp");
    assert!(first.json()["agents"].is_object(), "{first:?}");
    let state = request("state", r#"["agents"]"#, &VIEWER).await;
    assert_eq!(state, first.json());
    let history = request("manifest/history", "", &VIEWER).await;
    assert!(history.is_object(), "{history}");

    let subscribe = r#"{"id": "e", "field_masks": ["desiredState.workloads.nginx"]}"#;
    let subscribed = request("events/subscribe", subscribe, &VIEWER).await;
    assert_eq!(subscribed["topic"], "vehicle/1/events/e", "{subscribed}");
    seen.next_on("vehicle/1/events/e/subscription").await;
    let applied = request("manifest/apply", &manifest, &OPERATOR).await;
    assert_eq!(applied["added_workloads"][0]["workload_name"], "nginx", "{applied}");
    seen.next_on("vehicle/1/events/e").await;
    seen.next_on("vehicle/1/manifest/apply/status").await;

    // Clients without a user name receive nothing at all.
    let base = format!("{BASE}/state");
    let reply = broker.try_request(&base, "[]", Duration::from_secs(1), &[]).await;
    assert!(reply.is_err());
}

/// A certificate of X.509 version 1, as `openssl x509 -req` creates it.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBETCBuQIUTOX6G2UALmdBMDFreitX9lWbMQ4wCgYIKoZIzj0EAwIwDDEKMAgG
A1UEAwwBMTAeFw0yNjExMjEwODUzMTRaFw0zNjExMTgwODUzMTRaMAwxCjAIBgNV
BAMMATEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQ9mAQ4B4WnLud/fzSmoUXG
vOtOhwNM7HYJi/QjrAmh/gZ0eTXOJLFysiyUAb1qSJpQkEltxW3aQOsSoiH4Bn4u
MAoGCCqGSM49BAMCA0cAMEQCID+bpzivz9PTqsauxs68OZ9vblEnlLOypud5mZ/H
OWoCAiBYbaWlD5zRtgeo3wXh9wprUqLaQvKcAcomGSswgpNajw==
-----END CERTIFICATE-----
";

#[test]
fn contradictory_settings_are_refused() {
    let authority = Authority::new();
    let certified = authority.certify("a");
    let other = authority.certify("b");
    let ca = authority.ca();
    let missing = authority.folder().join("missing");
    let old = authority.folder().join("old.pem");
    std::fs::write(&old, VERSION_1).unwrap();
    let run = |settings: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_fleet-connector"))
            .env_clear()
            .env("VIN", "1")
            .env("MQTT_BROKER_ADDR", "broker.example")
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64));
        String::from_utf8(output.stderr).unwrap()
    };
    for (settings, expected) in [
        (&[("MQTT_USERNAME", "1")][..], "set MQTT_TLS=true, or MQTT_ALLOW_INSECURE_LOGIN=true"),
        (
            &[("MQTT_CERT_FILE", text(&certified.cert))],
            "MQTT_CERT_FILE: it requires TLS, which is off",
        ),
        (&[("MQTT_TLS", "yes")], "MQTT_TLS: \"yes\""),
        (
            &[("MQTT_CA_FILE", text(&ca)), ("MQTT_KEY_FILE", text(&certified.key))],
            "MQTT_CERT_FILE: it is not set",
        ),
        (&[("MQTT_CA_FILE", text(&missing))], "missing cannot be read"),
        (&[("MQTT_CA_FILE", text(&certified.key))], "a.key: it contains no certificate"),
        (
            &[
                ("MQTT_CA_FILE", text(&ca)),
                ("MQTT_CERT_FILE", text(&certified.cert)),
                ("MQTT_KEY_FILE", text(&other.key)),
            ],
            "b.key: it does not match ",
        ),
        (
            &[
                ("MQTT_CA_FILE", text(&ca)),
                ("MQTT_CERT_FILE", text(&old)),
                ("MQTT_KEY_FILE", text(&certified.key)),
            ],
            "old.pem: it is not an X.509 version 3 certificate: ",
        ),
        (
            &[
                ("MQTT_CA_FILE", text(&ca)),
                ("MQTT_USERNAME", "1"),
                ("MQTT_PASSWORD_FILE", text(&missing)),
            ],
            "MQTT_PASSWORD_FILE: the password cannot be read from ",
        ),
        (&[("MQTT_PASSWORD_FILE", text(&ca))], "MQTT_USERNAME: it is not set"),
    ] {
        let error = run(settings);
        assert!(error.contains(expected), "{expected:?} is missing in {error}");
    }
}
