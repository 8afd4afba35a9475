//! An MQTT broker inside the demo, so that it needs none installed.
//!
//! The crate `mqtt5` was chosen over `rumqttd`:
//!
//! - It serves MQTT 3.1.1 and 5 on one port. `rumqttd` has a port for each, so
//!   `mosquitto_pub`, which speaks 3.1.1 unless told otherwise, and the
//!   connector, which speaks 5, would not meet without extra options.
//! - It keeps sessions and what is queued in them, and forgets them after their
//!   expiry, which `rumqttd` ignores. A request that is published while the
//!   connector is being restarted is served afterwards, as the contract says.
//! - It passes on response topic, correlation data, user properties, content
//!   type and the remaining message expiry, heeds Receive Maximum, keeps
//!   retained messages and publishes last wills. (It adds a user property
//!   `x-mqtt-client-id` of its own.)
//!
//! Both bring about a hundred crates that the connector does not need. Optimised
//! like the other dependencies, `mqtt5` would take half as long again to compile
//! as `rumqttd`, so the workspace leaves it unoptimised: half a minute instead of
//! three for the crate itself. Builds that need no demo do without it altogether,
//! by leaving out the feature `demo`.

use std::net::SocketAddr;

use mqtt5::broker::config::StorageBackend;
use mqtt5::broker::{BrokerConfig, MqttBroker};
use tokio::task::JoinHandle;

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Somebody else listens there.
    #[error("{0} is taken, probably by another MQTT broker")]
    AddressTaken(SocketAddr),
    /// Anything else, such as an address that is not of this machine.
    #[error("no MQTT broker can be started on {0}: {1}")]
    Other(SocketAddr, String),
}

/// A running broker: no login, nothing on disk. Dropping it stops it.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Broker {
    /// Starts a broker; with port 0, on a port that is free.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn start(address: SocketAddr) -> Result<Self, BrokerError> {
        let mut config = BrokerConfig {
            bind_addresses: vec![address],
            sys_topics_enabled: false,
            ..BrokerConfig::default()
        };
        config.storage_config.backend = StorageBackend::Memory;
        config.auth_config.allow_anonymous = true;
        config.auth_config.rate_limit.enabled = false;
        let mut broker = MqttBroker::with_config(config).await.map_err(|error| {
            // The crate reports what went wrong with the socket as text only.
            let reason = error.to_string();
            if reason.contains("address already in use") {
                BrokerError::AddressTaken(address)
            } else {
                BrokerError::Other(address, reason)
            }
        })?;
        let address = broker.local_addr().unwrap_or(address);
        let mut ready = broker.ready_receiver();
        let task = tokio::spawn(async move {
            // It only ends when it is told to, and nobody does.
            let _ended = broker.run().await;
        });
        ready
            .wait_for(|ready| *ready)
            .await
            .map_err(|_| BrokerError::Other(address, "it has stopped".to_owned()))?;
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
