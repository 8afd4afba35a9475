//! Watches the status topic by a connection of its own.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Disconnect, DisconnectReasonCode, Filter, Packet, PubAck, Publish, RetainForwardRule,
    Subscribe, SubscribeReasonCode,
};
use tokio::time::{Instant, timeout};

use super::connect::{CONNECTION_TIMEOUT, Options};
use super::connection::Connection;
use super::connection_error::ConnectionError;
use super::metrics::Metrics;
use super::status::Status;
use crate::topics::Topics;

/// The packet identifier of SUBSCRIBE. Nothing else needs one.
const SUBSCRIBE_ID: u16 = 1;

/// How long the last word may take. It matters little.
const GOODBYE: Duration = Duration::from_millis(500);

/// A message on the status topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sighting {
    /// What it says; `None` if it is empty or not of a connector.
    pub(super) status: Option<Status>,
    /// The broker has kept it since before this connection. So whoever has published
    /// it may be gone without a word: a broker that restarts sends no last wills.
    pub(super) retained: bool,
}

/// A connection that is subscribed to the status topic.
pub(super) struct Observer {
    connection: Connection,
    topics: Topics,
    /// What has come before the answer to SUBSCRIBE.
    early: Option<Sighting>,
}

impl Observer {
    /// Connects and subscribes.
    pub(super) async fn open(
        options: &Options,
        topics: &Topics,
        replica: &str,
        metrics: &Metrics,
    ) -> Result<Self, ConnectionError> {
        let connect = options.watching_packet(options.standby_id(replica))?;
        let (mut connection, _) = Connection::open(options, connect, metrics).await?;
        let filter = Filter {
            path: topics.status(),
            qos: QoS::AtLeastOnce,
            nolocal: false,
            // The flag shall tell what was retained before.
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
        };
        let subscribe = Subscribe { pkid: SUBSCRIBE_ID, ..Subscribe::new_many([filter], None) };
        connection.network.put(Packet::Subscribe(subscribe))?;
        let mut observer = Self { connection, topics: topics.clone(), early: None };
        let subscribed = async {
            while observer.connection.ready.is_none() {
                if let Some(sighting) = observer.step().await? {
                    observer.early = Some(sighting);
                }
            }
            Ok(())
        };
        timeout(CONNECTION_TIMEOUT, subscribed)
            .await
            .unwrap_or(Err(ConnectionError::Timeout))
            .map(|()| observer)
    }

    /// The next message on the status topic. Cancelling the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Sighting, ConnectionError> {
        loop {
            if let Some(sighting) = self.early.take() {
                return Ok(sighting);
            }
            if let Some(sighting) = self.step().await? {
                return Ok(sighting);
            }
        }
    }

    /// Asks the active replica to publish its status again.
    pub(super) fn ask(&mut self, replica: &str) -> Result<(), ConnectionError> {
        let payload = serde_json::json!({ "replica": replica }).to_string();
        // With QoS 0: the broker must not keep it for one that is not there.
        let publish = Publish::new(self.topics.standby(), QoS::AtMostOnce, payload, None);
        Ok(self.connection.network.put(Packet::Publish(publish))?)
    }

    /// Ends the connection.
    pub(super) async fn close(mut self) {
        let disconnect = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
        let said = async {
            self.connection.network.put(Packet::Disconnect(disconnect))?;
            self.connection.network.flush().await
        };
        match timeout(GOODBYE, said).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "DISCONNECT cannot be sent"),
            Err(_) => tracing::debug!("DISCONNECT cannot be sent: the broker takes nothing"),
        }
    }

    /// Handles the next that happens.
    async fn step(&mut self) -> Result<Option<Sighting>, ConnectionError> {
        let connection = &mut self.connection;
        tokio::select! {
            packet = connection.network.next() => match packet? {
                Some(packet) => self.incoming(packet),
                None => Ok(None),
            },
            () = &mut connection.look => {
                connection.look(0, 0)?;
                Ok(None)
            }
        }
    }

    fn incoming(&mut self, packet: Packet) -> Result<Option<Sighting>, ConnectionError> {
        match packet {
            Packet::Publish(publish) => self.accept(&publish),
            Packet::SubAck(suback) => {
                let granted =
                    |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                if !suback.return_codes.iter().all(granted) {
                    return Err(ConnectionError::Subscription {
                        filters: vec![self.topics.status()],
                        codes: suback.return_codes,
                        base: self.topics.to_string(),
                    });
                }
                self.connection.ready = Some(Instant::now());
                Ok(None)
            }
            Packet::PingResp(_) => Ok(None),
            _ => Err(ConnectionError::Protocol("it sends a packet that is not expected")),
        }
    }

    fn accept(&mut self, publish: &Publish) -> Result<Option<Sighting>, ConnectionError> {
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                let puback = PubAck::new(publish.pkid, None);
                self.connection.network.put(Packet::PubAck(puback))?;
            }
            QoS::ExactlyOnce => return Err(ConnectionError::Protocol("QoS 2 was not asked for")),
        }
        if publish.topic != self.topics.status() {
            return Err(ConnectionError::Protocol("it sends a message that was not asked for"));
        }
        let status = Status::read(&publish.payload);
        Ok(Some(Sighting { status, retained: publish.retain }))
    }
}
