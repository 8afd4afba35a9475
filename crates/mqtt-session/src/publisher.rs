//! Publishes with QoS 0 by a connection of its own.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use tokio::time::Instant;

use crate::connect::clean_packet;
use crate::connection::Connection;
use crate::connection_error::ConnectionError;
use crate::incoming_packet::Received;
use crate::metrics::SessionMetrics;
use crate::options::SessionOptions;

/// A connection without a persistent session that only publishes.
pub struct Publisher {
    connection: Connection,
}

impl Publisher {
    /// Connects as `client_id`.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn open(
        options: &SessionOptions,
        client_id: String,
        metrics: &SessionMetrics,
    ) -> Result<Self, ConnectionError> {
        let packet = clean_packet(options, client_id)?;
        let (mut connection, _) = Connection::open(options, packet, metrics).await?;
        connection.granted(Instant::now());
        Ok(Self { connection })
    }

    /// Publishes a message with QoS 0; [`Publisher::run`] sends it. Returns whether there was
    /// room for it: it is dropped while the broker reads too slowly.
    ///
    /// # Errors
    /// The message does not fit into a packet.
    pub fn publish(&mut self, topic: &str, payload: Bytes) -> Result<bool, ConnectionError> {
        let network = &mut self.connection.network;
        if network.has_unsent() {
            return Ok(false);
        }
        let publish = Publish::new(topic, QoS::AtMostOnce, payload, None);
        network.put(Packet::Publish(publish))?;
        Ok(true)
    }

    /// Sends what was published, and pings the broker, until the connection ends. Cancel safe.
    pub async fn run(&mut self) -> ConnectionError {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.connection.close().await;
    }

    async fn step(&mut self) -> Result<(), ConnectionError> {
        let connection = &mut self.connection;
        tokio::select! {
            packet = connection.network.next() => match packet? {
                Some(Received::PingResp) | None => Ok(()),
                Some(other) => {
                    tracing::debug!(?other, "a packet of the broker is skipped");
                    Ok(())
                }
            },
            () = &mut connection.next_check => connection.check(0, 0),
        }
    }
}
