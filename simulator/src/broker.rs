//! The MQTT broker of the demo, so that users need not install one.
//!
//! It is the crate `mqtt5`, for these advantages over `rumqttd`:
//!
//! - It serves MQTT 3.1.1 and 5 on one port. `rumqttd` has one port for each, so `mosquitto_pub`
//!   (3.1.1 by default) could not reach the connector (5) without extra options.
//! - It stores sessions with their queued messages, and removes them when they expire; `rumqttd`
//!   ignores the expiry. So a request that is published while the connector restarts is served
//!   afterwards.
//! - It forwards response topic, correlation data, user properties, content type and the remaining
//!   message expiry, obeys *Receive Maximum*, stores retained messages and publishes last wills.
//!   (It adds a user property `x-mqtt-client-id`.)
//!
//! Both depend on about a hundred crates that the connector does not need. Optimised like the other
//! dependencies, `mqtt5` takes three minutes to compile, half as long again as `rumqttd`, so the
//! workspace does not optimise it; then it takes half a minute. Builds without the feature `demo`
//! do not compile it.

use std::net::SocketAddr;

use mqtt5::broker::config::StorageBackend;
use mqtt5::broker::{BrokerConfig, MqttBroker};
use tokio::task::JoinHandle;

/// Why the broker could not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Another process listens on this address.
    #[error("{0} is taken, probably by another MQTT broker")]
    AddressTaken(SocketAddr),
    /// Any other reason, such as an address that does not belong to this machine.
    #[error("cannot start an MQTT broker on {0}: {1}")]
    Other(SocketAddr, String),
}

/// A running broker without login and without files. It stops when it is dropped.
#[derive(Debug)]
pub struct EmbeddedBroker {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl EmbeddedBroker {
    /// Starts a broker. Port 0 means any free port.
    ///
    /// # Errors
    /// The broker cannot listen on this address.
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
            // The crate reports errors of the socket as text only.
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
            // Ends only on request, and there is none.
            let _ = broker.run().await;
        });
        ready
            .wait_for(|ready| *ready)
            .await
            .map_err(|_| BrokerError::Other(address, "it has stopped".to_owned()))?;
        Ok(Self { address, task })
    }

    /// The address that the broker listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
