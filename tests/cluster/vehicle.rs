//! A vehicle of the tests: a simulated Ankaios, the real connector, and an operator.

use std::fs;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::cluster::{Cluster, NODES, USER};
use super::support::connector::start_connector_at;
use super::support::vehicle::Vehicle as Simulated;
use super::support::{Process, Requester};

/// How long an answer may take while nodes fail: until a lost connection is noticed, until it is
/// opened again, and until the cluster has elected new leaders.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the fleet.
pub(crate) const FLEET: &str = "test";

/// What the connector keeps, and what it is called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// It has `STATE_DIR`.
    Keeping,
    /// It has no `STATE_DIR`.
    Forgetful,
    /// It is a replica with this name and has `STATE_DIR`.
    Replica(&'static str),
}

/// A vehicle.
pub(crate) struct Vehicle {
    pub(crate) vin: String,
    pub(crate) ankaios: Simulated,
    pub(crate) connector: Process,
    settings: Vec<(&'static str, String)>,
    _folder: TempDir,
}

/// A name that no other test uses, nor an earlier run on the same cluster.
pub(crate) fn new_vin() -> String {
    static RUN: LazyLock<u16> = LazyLock::new(|| fastrand::u16(..));
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    format!("V{:04X}-{:02}", *RUN, NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl Vehicle {
    /// A new vehicle whose connector is on one of these nodes.
    pub(crate) async fn start<G>(cluster: &Cluster<G>, role: Role, nodes: &[u16]) -> Self {
        Self::start_with(cluster, role, nodes, &[]).await
    }

    /// Like [`start`](Self::start), with settings that are added to the usual ones.
    pub(crate) async fn start_with<G>(
        cluster: &Cluster<G>,
        role: Role,
        nodes: &[u16],
        settings: &[(&'static str, &str)],
    ) -> Self {
        let vehicle = Self::launch_with(cluster, &new_vin(), role, nodes, settings).await;
        vehicle.ready().await;
        vehicle
    }

    /// Starts a connector without waiting for it.
    pub(crate) async fn launch<G>(
        cluster: &Cluster<G>,
        vin: &str,
        role: Role,
        nodes: &[u16],
    ) -> Self {
        Self::launch_with(cluster, vin, role, nodes, &[]).await
    }

    /// Like [`launch`](Self::launch), with settings that are added to the usual ones.
    pub(crate) async fn launch_with<G>(
        cluster: &Cluster<G>,
        vin: &str,
        role: Role,
        nodes: &[u16],
        more: &[(&'static str, &str)],
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let password = folder.path().join("password");
        fs::write(&password, USER).unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let mut settings = vec![
            ("VIN", vin.to_owned()),
            ("FLEET", FLEET.to_owned()),
            ("MQTT_BROKER_PORT", String::new()),
            ("MQTT_USERNAME", USER.to_owned()),
            ("MQTT_PASSWORD_FILE", path(&password)),
            ("MQTT_KEEP_ALIVE", "5s".to_owned()),
            ("MQTT_RECONNECT_SPREAD", "0s".to_owned()),
            // RabbitMQ does not accept a client whose delayed last will is on a node that is down.
            ("MQTT_WILL_DELAY", "0s".to_owned()),
            ("STABLE_TIME", "300ms".to_owned()),
        ];
        match role {
            Role::Keeping => settings.push(("STATE_DIR", path(&state))),
            Role::Forgetful => {}
            Role::Replica(name) => {
                settings.push(("STATE_DIR", path(&state)));
                settings.push(("REPLICA_ID", name.to_owned()));
            }
        }
        settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let ankaios = Simulated::start().await;
        let connector = connector(&ankaios, &settings, &cluster.addresses(nodes));
        Self { vin: vin.to_owned(), ankaios, connector, settings, _folder: folder }
    }

    /// Waits until the connector serves requests.
    pub(crate) async fn ready(&self) {
        self.connector.line("the link to Ankaios is up").await;
        self.connector.line("ready for requests").await;
    }

    /// Replaces a connector that has ended with a new process.
    pub(crate) async fn start_again<G>(&mut self, cluster: &Cluster<G>, nodes: &[u16]) {
        self.launch_again(cluster, nodes);
        self.ready().await;
    }

    /// Like [`start_again`](Self::start_again), without waiting for the connector.
    pub(crate) fn launch_again<G>(&mut self, cluster: &Cluster<G>, nodes: &[u16]) {
        self.connector = connector(&self.ankaios, &self.settings, &cluster.addresses(nodes));
    }

    /// Like [`start_again`](Self::start_again), for a replica that need not become active.
    pub(crate) async fn start_standby<G>(&mut self, cluster: &Cluster<G>, nodes: &[u16]) {
        self.launch_again(cluster, nodes);
        self.connector.line("the link to Ankaios is up").await;
    }

    /// The node that the connector is, or was last, connected to.
    pub(crate) fn node<G>(&self, cluster: &Cluster<G>) -> u16 {
        let output = self.connector.output();
        let connected = output.iter().rev().find_map(|line| {
            let (_, address) = line.split_once("connected to the MQTT broker broker=127.0.0.1:")?;
            address.split_whitespace().next()?.parse().ok()
        });
        cluster.node(connected.unwrap())
    }

    /// The topic of this vehicle.
    pub(crate) fn topic(&self, rest: &str) -> String {
        format!("vehicle/{}/{rest}", self.vin)
    }

    /// An operator on another node than the connector's.
    pub(crate) async fn operator<G>(&self, cluster: &Cluster<G>) -> Requester {
        let own = self.node(cluster);
        let others: Vec<u16> = NODES.into_iter().filter(|node| *node != own).collect();
        cluster.operator(&self.vin, &others).await
    }
}

fn connector(ankaios: &Simulated, settings: &[(&str, String)], addresses: &str) -> Process {
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let settings: Vec<_> = settings.chain([("MQTT_BROKER_ADDR", addresses)]).collect();
    start_connector_at(0, ankaios.control_interface(), &settings)
}

/// A request whose reply contains its number: the first needs Ankaios, the second does not.
pub(crate) async fn ask(operator: &Requester, number: u32) {
    if number.is_multiple_of(2) {
        let masks = json!([format!("desiredState.workloads.none-{number}")]).to_string();
        operator.request(number, "state", masks).await;
    } else {
        let manifest = format!("apiVersion: v1\nconfigs:\n  asked-{number}: x\n");
        operator.request(number, "manifest/validate", manifest).await;
    }
}

/// Each of these requests, and all others from `first` on that the broker has acknowledged, must
/// have a reply, and each reply must be right.
pub(crate) async fn all_answered(operator: &Requester, first: u32) {
    operator.all_replied(PATIENCE).await.unwrap_or_else(|number| {
        panic!("{number} has no reply: {:?}", operator.fate(number));
    });
    for (number, fate) in operator.fates().range(first..) {
        for answer in &fate.replies {
            let reply: Value = serde_json::from_slice(&answer.payload).unwrap();
            let is_right = if number.is_multiple_of(2) {
                reply["desired_state"]["workloads"] == json!({})
            } else {
                reply["configs"] == json!([format!("asked-{number}")])
            };
            assert!(is_right, "{number}: {reply}");
        }
    }
}

/// The reply to a request.
pub(crate) async fn reply(
    operator: &Requester,
    number: u32,
    operation: &str,
    payload: impl Into<String>,
) -> Value {
    operator.request(number, operation, payload.into()).await;
    let reply = operator.reply(number, PATIENCE).await;
    let reply = reply.unwrap_or_else(|| panic!("{operation}: no reply within {PATIENCE:?}"));
    serde_json::from_slice(&reply.payload).unwrap()
}
