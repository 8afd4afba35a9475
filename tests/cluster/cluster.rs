//! The cluster of brokers, which all tests of a run share.
//!
//! `scripts/cluster.sh run` or `scripts/cluster-rmqtt.sh run` starts it, runs the tests and stops it.
//! Its variables say where it is, and which engine it has.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::timeout;

use super::support::requester::RequesterOptions;
use super::support::{Client, Requester, say};

/// The user of all clients, and its password.
pub(crate) const USER: &str = "fleet";

/// How long a node may take to start on a busy machine.
const START: Duration = Duration::from_secs(180);

/// The nodes. Two of three are a majority.
pub(crate) const NODES: [u16; 3] = [1, 2, 3];

/// The broker of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    RabbitMq,
    Rmqtt,
}

/// Tests that disturb nodes have the cluster for themselves; the others share it.
static CLUSTER: RwLock<()> = RwLock::const_new(());

/// The cluster.
pub(crate) struct Cluster<G> {
    first_port: u16,
    _guard: G,
}

/// A cluster whose nodes may be disturbed.
pub(crate) type Own = Cluster<RwLockWriteGuard<'static, ()>>;

/// A cluster that other tests use as well.
pub(crate) type Shared = Cluster<RwLockReadGuard<'static, ()>>;

/// Whether a test has disturbed nodes since they were healed.
static IS_DISTURBED: AtomicBool = AtomicBool::new(false);

/// The cluster for a test that disturbs no nodes; `None`, with a message, if there is none.
pub(crate) async fn shared(test: &str) -> Option<Shared> {
    let first_port = needs(test)?;
    loop {
        let cluster = Cluster { first_port, _guard: CLUSTER.read().await };
        if !IS_DISTURBED.load(Ordering::Relaxed) {
            return Some(cluster);
        }
        drop(cluster);
        // Tests that disturb nodes leave this to the next one.
        Cluster { first_port, _guard: CLUSTER.write().await }.heal().await;
    }
}

/// The cluster for a test that disturbs nodes; `None`, with a message, if there is none.
pub(crate) async fn own(test: &str) -> Option<Own> {
    let first_port = needs(test)?;
    let cluster = Cluster { first_port, _guard: CLUSTER.write().await };
    cluster.heal().await;
    IS_DISTURBED.store(true, Ordering::Relaxed);
    Some(cluster)
}

/// The first port of the cluster.
fn needs(test: &str) -> Option<u16> {
    let Some(port) = std::env::var_os("CLUSTER_PORT") else {
        // Not skipped(): root and Debian's packages cannot be expected everywhere.
        say(&format!(
            "\nSKIPPED {test}: there is no cluster of brokers: use `make test-cluster`\n"
        ));
        return None;
    };
    Some(port.to_str().unwrap().parse().unwrap())
}

/// The engine of the cluster.
fn engine() -> Engine {
    let name = std::env::var("CLUSTER_ENGINE").unwrap_or_else(|_| "rabbitmq".to_owned());
    match name.as_str() {
        "rabbitmq" => Engine::RabbitMq,
        "rmqtt" => Engine::Rmqtt,
        _ => panic!("CLUSTER_ENGINE={name}"),
    }
}

/// Why RMQTT cannot pass most tests that disturb nodes: a session is only on its node.
pub(crate) const LOST_WITH_NODE: &str =
    "requests that RMQTT has acknowledged are lost with the node that has the session";

/// Whether the engine is RMQTT, which cannot pass a test for the reason that the message gives.
pub(crate) fn is_beyond_rmqtt(test: &str, reason: &str) -> bool {
    let is_beyond = engine() == Engine::Rmqtt;
    if is_beyond {
        // Not skipped(): nothing is missing on this machine.
        say(&format!("\nNOT RUN ON RMQTT {test}: {reason}\n"));
    }
    is_beyond
}

fn script() -> PathBuf {
    let name = match engine() {
        Engine::RabbitMq => "cluster.sh",
        Engine::Rmqtt => "cluster-rmqtt.sh",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

impl<G> Cluster<G> {
    /// Runs the script of the cluster.
    async fn script(&self, arguments: &[&str]) {
        let mut command = Command::new(script());
        let output = timeout(START, command.args(arguments).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{command:?} does not end"));
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {text}");
    }

    /// Runs commands of a shell, in which `rabbitmqctl` is that of the first node.
    pub(crate) async fn shell(&self, commands: &str) {
        let script = script().display().to_string();
        let commands = format!("set -e\nrabbitmqctl() {{ '{script}' ctl 1 \"$@\"; }}\n{commands}");
        let mut command = Command::new("sh");
        let output = timeout(START, command.arg("-c").arg(&commands).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{commands} does not end")).unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}: {text}");
    }

    /// Makes all nodes serve clients, if a test may have disturbed them.
    async fn heal(&self) {
        if IS_DISTURBED.swap(false, Ordering::Relaxed) {
            self.script(&["heal"]).await;
        }
    }

    /// The MQTT port of a node.
    pub(crate) fn port(&self, node: u16) -> u16 {
        self.first_port + node
    }

    /// The node with this MQTT port.
    pub(crate) fn node(&self, port: u16) -> u16 {
        port - self.first_port
    }

    /// `MQTT_BROKER_ADDR` for these nodes.
    pub(crate) fn addresses(&self, nodes: &[u16]) -> String {
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", self.port(*node)));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// An operator of a vehicle, which connects to the first of these nodes that serves it.
    pub(crate) async fn operator(&self, vin: &str, nodes: &[u16]) -> Requester {
        Requester::with(RequesterOptions {
            ports: nodes.iter().map(|node| self.port(*node)).collect(),
            login: Some((USER.into(), USER.into())),
            vin: vin.into(),
        })
        .await
    }

    /// A client that is subscribed to this filter on a node.
    pub(crate) async fn client(&self, node: u16, filter: &str) -> Client {
        Client::log_in(self.port(node), Some((USER, USER)), filter).await
    }
}

impl Own {
    async fn on(&self, command: &str, node: u16) {
        self.script(&[command, &node.to_string()]).await;
    }

    /// Kills a node.
    pub(crate) async fn kill(&self, node: u16) {
        self.on("kill", node).await;
    }

    /// Stops a node in an orderly way.
    pub(crate) async fn stop(&self, node: u16) {
        self.on("stop", node).await;
    }

    /// Starts a node and waits until it serves clients; returns how long it took.
    pub(crate) async fn start(&self, node: u16) -> Duration {
        let begin = Instant::now();
        self.on("start", node).await;
        begin.elapsed()
    }

    /// Lets a node hang.
    pub(crate) async fn suspend(&self, node: u16) {
        self.on("suspend", node).await;
    }

    /// Lets a node go on.
    pub(crate) async fn resume(&self, node: u16) {
        self.on("resume", node).await;
    }

    /// Cuts a node off from the others.
    pub(crate) async fn isolate(&self, node: u16) {
        self.on("isolate", node).await;
    }

    /// Connects a node with the others, and waits until it serves clients.
    pub(crate) async fn rejoin(&self, node: u16) {
        self.on("rejoin", node).await;
    }
}
