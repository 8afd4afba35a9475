//! Watches one topic by a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Disconnect, DisconnectReasonCode, Filter, Packet, PubAck, Publish, RetainForwardRule,
    Subscribe, SubscribeReasonCode,
};
use tokio::time::{Instant, timeout};

use crate::connect::{CONNECTION_TIMEOUT, clean_packet};
use crate::connection::Connection;
use crate::connection_error::ConnectionError;
use crate::metrics::SessionMetrics;
use crate::options::SessionOptions;

/// The packet identifier of SUBSCRIBE. Nothing else needs one.
const SUBSCRIBE_ID: u16 = 1;

/// How long DISCONNECT may take. Without it nothing is lost.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A message on the watched topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The payload.
    pub payload: Bytes,
    /// Whether the broker had retained it before this connection subscribed. Its publisher may
    /// be gone without a last will: a broker that restarts publishes none.
    pub retained: bool,
}

/// A connection without a persistent session that is subscribed to one topic.
pub struct Watcher {
    connection: Connection,
    topic: String,
    base_topic: String,
    /// The last message that arrived before the answer to SUBSCRIBE.
    early: Option<Watched>,
}

impl Watcher {
    /// Connects as `client_id` and subscribes to `topic`.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn open(
        options: &SessionOptions,
        client_id: String,
        topic: String,
        metrics: &SessionMetrics,
    ) -> Result<Self, ConnectionError> {
        let packet = clean_packet(options, client_id)?;
        let (mut connection, _) = Connection::open(options, packet, metrics).await?;
        let filter = Filter {
            path: topic.clone(),
            qos: QoS::AtLeastOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
        };
        let subscribe = Subscribe { pkid: SUBSCRIBE_ID, ..Subscribe::new_many([filter], None) };
        connection.network.put(Packet::Subscribe(subscribe))?;
        let base_topic = options.base_topic.clone();
        let mut watcher = Self { connection, topic, base_topic, early: None };
        let subscribed = async {
            while watcher.connection.ready.is_none() {
                if let Some(message) = watcher.step().await? {
                    watcher.early = Some(message);
                }
            }
            Ok(())
        };
        timeout(CONNECTION_TIMEOUT, subscribed)
            .await
            .unwrap_or(Err(ConnectionError::Timeout))
            .map(|()| watcher)
    }

    /// Waits for the next message. Cancel safe.
    ///
    /// # Errors
    /// Why the connection has ended.
    pub async fn next(&mut self) -> Result<Watched, ConnectionError> {
        loop {
            if let Some(message) = self.early.take() {
                return Ok(message);
            }
            if let Some(message) = self.step().await? {
                return Ok(message);
            }
        }
    }

    /// Publishes a message with QoS 0, which the broker does not keep for clients that are
    /// offline. [`Watcher::next`] sends it.
    ///
    /// # Errors
    /// The message does not fit into a packet.
    pub fn publish(&mut self, topic: &str, payload: Bytes) -> Result<(), ConnectionError> {
        let publish = Publish::new(topic, QoS::AtMostOnce, payload, None);
        Ok(self.connection.network.put(Packet::Publish(publish))?)
    }

    /// Ends the connection.
    pub async fn close(mut self) {
        let disconnect = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
        let sent = async {
            self.connection.network.put(Packet::Disconnect(disconnect))?;
            self.connection.network.flush().await
        };
        match timeout(DISCONNECT_TIMEOUT, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "DISCONNECT cannot be sent"),
            Err(_) => tracing::debug!("DISCONNECT cannot be sent: the broker reads nothing"),
        }
    }

    /// Handles the next event.
    async fn step(&mut self) -> Result<Option<Watched>, ConnectionError> {
        let connection = &mut self.connection;
        tokio::select! {
            packet = connection.network.next() => match packet? {
                Some(packet) => self.incoming(packet),
                None => Ok(None),
            },
            () = &mut connection.next_check => {
                connection.check(0, 0)?;
                Ok(None)
            }
        }
    }

    fn incoming(&mut self, packet: Packet) -> Result<Option<Watched>, ConnectionError> {
        match packet {
            Packet::Publish(publish) => self.accept(&publish).map(Some),
            Packet::SubAck(suback) => {
                let is_granted =
                    |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                if !suback.return_codes.iter().all(is_granted) {
                    return Err(ConnectionError::Subscription {
                        filters: vec![self.topic.clone()],
                        codes: suback.return_codes,
                        base: self.base_topic.clone(),
                    });
                }
                self.connection.ready = Some(Instant::now());
                Ok(None)
            }
            Packet::PingResp(_) => Ok(None),
            _ => Err(ConnectionError::Protocol("it sends an unexpected packet")),
        }
    }

    fn accept(&mut self, publish: &Publish) -> Result<Watched, ConnectionError> {
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                let puback = PubAck::new(publish.pkid, None);
                self.connection.network.put(Packet::PubAck(puback))?;
            }
            QoS::ExactlyOnce => return Err(ConnectionError::Protocol("QoS 2 was not requested")),
        }
        if publish.topic != self.topic {
            return Err(ConnectionError::Protocol("it sends a message that was not requested"));
        }
        let payload = Bytes::copy_from_slice(&publish.payload);
        Ok(Watched { payload, retained: publish.retain })
    }
}
