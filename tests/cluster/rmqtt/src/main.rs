//! One node of a cluster of three RMQTT nodes on the loopback interface, with which the fleet connector
//! is tried. `scripts/cluster-rmqtt.sh` builds and starts it.
//!
//! Sessions and retained messages are on the disk of their node; Raft tells all nodes which node has
//! which session and subscription, and retained messages are sent to all.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rmqtt::Result;
use rmqtt::context::ServerContext;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType, Type};
use rmqtt::net::Builder;
use rmqtt::server::MqttServer;
use rmqtt::types::{AuthResult, NodeId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const USAGE: &str = "\
Usage: rmqtt-node NODE PORT DATA LEADER
  NODE    number of this node, from 1 to 3
  PORT    MQTT on PORT+NODE; PORT+10+NODE and PORT+13+NODE between the nodes
  DATA    folder of sessions and retained messages
  LEADER  the node that begins a cluster, or one of a cluster that this node is to join";

const NODES: [NodeId; 3] = [1, 2, 3];

/// The user of all clients, and its password.
const USER: &str = "fleet";

/// Longer than the `MQTT_SESSION_EXPIRY` of the connector.
const MAX_SESSION_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);

/// The connector accepts that many requests at once.
const MAX_INFLIGHT: NonZeroU16 = NonZeroU16::new(100).unwrap();

/// Longer than what clients may queue for a vehicle that is offline.
const MAX_QUEUED: usize = 100_000;

/// A CONNECT of MQTT 5 without a login, which is refused.
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x05\x02\0\x0a\0\0\0";

/// Where a node is, and what it stores.
struct Place {
    node: NodeId,
    first_port: u16,
    data: PathBuf,
    leader: NodeId,
}

impl Place {
    fn from_arguments() -> Option<Self> {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let [node, port, data, leader] = arguments.as_slice() else { return None };
        let number = |text: &str| text.parse().ok().filter(|node| NODES.contains(node));
        Some(Self {
            node: number(node)?,
            first_port: port.parse().ok().filter(|port| *port < u16::MAX - 16)?,
            data: data.into(),
            leader: number(leader)?,
        })
    }

    /// An address of a node: `offset` is that of a service.
    fn address(&self, offset: u16, node: NodeId) -> SocketAddr {
        let number = NODES.iter().zip(1..).find_map(|(n, number)| (*n == node).then_some(number));
        (Ipv4Addr::LOCALHOST, self.first_port + offset + number.unwrap_or_default()).into()
    }

    /// `ID@ADDRESS` of a service on all nodes, in TOML.
    fn addresses(&self, offset: u16) -> String {
        let all = NODES.map(|node| format!("\"{node}@{}\"", self.address(offset, node)));
        format!("[{}]", all.join(", "))
    }

    fn cluster_settings(&self) -> String {
        format!(
            "node_grpc_addrs = {}\nraft_peer_addrs = {}\nleader_id = {}\n\
             node_grpc_client_timeout = \"5s\"\nraft.grpc_reuseaddr = true\n",
            self.addresses(FORWARDING),
            self.addresses(RAFT),
            self.leader
        )
    }

    fn storage_settings(&self, what: &str) -> String {
        let path = self.data.join(what);
        format!(
            "storage.type = \"sled\"\nstorage.sled.path = {:?}\n\
             storage.sled.cache_capacity = \"64M\"\n",
            path.display().to_string()
        )
    }
}

/// Offsets of the ports of a node.
const MQTT: u16 = 0;
const FORWARDING: u16 = 10;
const RAFT: u16 = 13;

/// Lets in whoever knows the password.
struct Login;

#[async_trait]
impl Handler for Login {
    async fn hook(&self, parameter: &Parameter, previous: Option<HookResult>) -> ReturnType {
        let Parameter::ClientAuthenticate(connect) = parameter else { return (true, previous) };
        let name = connect.username().is_some_and(|name| &**name == USER);
        let password = connect.password().is_some_and(|password| **password == *USER.as_bytes());
        let result = if name && password {
            AuthResult::Allow(false, None)
        } else {
            AuthResult::BadUsernameOrPassword
        };
        (false, Some(HookResult::AuthResult(result)))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    env_logger::init();
    let Some(place) = Place::from_arguments() else {
        eprintln!("{USAGE}");
        std::process::exit(64);
    };
    let context = ServerContext::new()
        .node_id(place.node)
        .plugins_config_map_add("rmqtt-cluster-raft", place.cluster_settings())
        .plugins_config_map_add("rmqtt-retainer", place.storage_settings("retained"))
        .plugins_config_map_add("rmqtt-session-storage", place.storage_settings("sessions"))
        .build()
        .await;
    let forwarding = place.address(FORWARDING, place.node);
    context.node.start_grpc_server(context.clone(), forwarding, true, false);

    let hooks = context.extends.hook_mgr().register();
    hooks.add(Type::ClientAuthenticate, Box::new(Login)).await;
    hooks.start().await;
    rmqtt_retainer::register(&context, true, false).await?;
    // It waits until the cluster has a leader.
    rmqtt_cluster_raft::register(&context, true, true).await?;
    // It reads sessions of former runs when the server starts, and tells the cluster.
    rmqtt_session_storage::register(&context, true, true).await?;

    let listener = Builder::new()
        .name("cluster/tcp")
        .laddr(place.address(MQTT, place.node))
        .nodelay(true)
        .reuseaddr(Some(true))
        .allow_anonymous(false)
        .max_inflight(MAX_INFLIGHT)
        .max_mqueue_len(MAX_QUEUED)
        .max_session_expiry_interval(MAX_SESSION_EXPIRY)
        .message_expiry_interval(MAX_SESSION_EXPIRY)
        .bind()?
        .tcp()?;
    let server = MqttServer::new(context).listener(listener).build();
    let ready = async {
        answered(place.address(MQTT, place.node)).await;
        fs::write(place.data.join("ready"), "")
    };
    tokio::try_join!(server.run(), async { Ok(ready.await?) })?;
    Ok(())
}

/// Waits until a CONNECT is answered. The port is open earlier: the server first reads all sessions.
async fn answered(address: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await
            && stream.write_all(CONNECT).await.is_ok()
            && stream.read_u8().await.is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
