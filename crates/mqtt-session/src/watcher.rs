//! Watches topics by a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubAck, Publish, RetainForwardRule, Subscribe};
use tokio::time::{Instant, timeout};

use crate::connect::{CONNECTION_TIMEOUT, clean_packet};
use crate::connection::Connection;
use crate::connection_error::ConnectionError;
use crate::incoming_packet::Received;
use crate::metrics::SessionMetrics;
use crate::options::SessionOptions;
use crate::reason_code::{ReasonCode, SubscribeRule};

/// The packet identifier of SUBSCRIBE. Nothing else needs one.
const SUBSCRIBE_ID: u16 = 1;

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedTopics {
    /// The topic without which there is nothing to watch.
    pub topic: String,
    /// Filters with wildcards. A broker may refuse them.
    pub filters: Vec<String>,
}

/// A message on a watched topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Where it was published.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// Whether the broker had retained it before this connection subscribed. Its publisher may
    /// be gone without a last will: a broker that restarts publishes none.
    pub retained: bool,
    /// How long it is of use: what the broker has left of its *Message Expiry Interval*.
    pub expires_in: Option<Duration>,
}

/// A connection without a persistent session that is subscribed to a few topics.
pub struct Watcher {
    connection: Connection,
    topic: String,
    base_topic: String,
    /// The last message on `topic` that arrived before the answer to SUBSCRIBE.
    early: Option<Watched>,
    /// Whether the broker has granted a filter besides `topic`.
    sees_filters: bool,
}

impl Watcher {
    /// Connects as `client_id` and subscribes.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn open(
        options: &SessionOptions,
        client_id: String,
        topics: WatchedTopics,
        metrics: &SessionMetrics,
    ) -> Result<Self, ConnectionError> {
        let packet = clean_packet(options, client_id)?;
        let (mut connection, _) = Connection::open(options, packet, metrics).await?;
        let WatchedTopics { topic, mut filters } = topics;
        let properties = connection.properties.as_ref();
        if properties.and_then(|all| all.wildcard_subscription_available) == Some(0) {
            filters.clear();
        }
        filters.insert(0, topic.clone());
        let filters = filters.into_iter().map(|path| Filter {
            path,
            qos: QoS::AtLeastOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
        });
        let subscribe = Subscribe { pkid: SUBSCRIBE_ID, ..Subscribe::new_many(filters, None) };
        connection.network.put(Packet::Subscribe(subscribe))?;
        let base_topic = options.base_topic.clone();
        let mut watcher = Self { connection, topic, base_topic, early: None, sees_filters: false };
        let subscribed = async {
            while watcher.connection.ready.is_none() {
                if let Some(message) = watcher.step().await?
                    && message.topic == watcher.topic
                {
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

    /// Whether the broker sends messages for any of [`WatchedTopics::filters`].
    #[must_use]
    pub fn sees_filters(&self) -> bool {
        self.sees_filters
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
    pub async fn close(self) {
        self.connection.close().await;
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

    fn incoming(&mut self, packet: Received) -> Result<Option<Watched>, ConnectionError> {
        match packet {
            Received::Publish(publish) => self.accept(&publish),
            Received::SubAck { packet_id: SUBSCRIBE_ID, codes, .. } => {
                let is_granted =
                    |code: &ReasonCode| matches!(code.subscribe_rule(), SubscribeRule::Granted(_));
                if !codes.iter().all(is_granted) {
                    tracing::warn!(?codes, "the broker refuses some of what is watched");
                }
                if !codes.first().is_some_and(is_granted) {
                    return Err(ConnectionError::Subscription {
                        filters: vec![self.topic.clone()],
                        codes,
                        base: self.base_topic.clone(),
                    });
                }
                self.sees_filters = codes.iter().skip(1).any(is_granted);
                self.connection.granted(Instant::now());
                Ok(None)
            }
            Received::TooLarge { publish, .. } => {
                self.acknowledge(&publish)?;
                tracing::debug!("a message is skipped: it is too large");
                Ok(None)
            }
            Received::PingResp => Ok(None),
            other => {
                tracing::debug!(?other, "a packet of the broker is skipped");
                Ok(None)
            }
        }
    }

    fn accept(&mut self, publish: &Publish) -> Result<Option<Watched>, ConnectionError> {
        self.acknowledge(publish)?;
        let Ok(topic) = std::str::from_utf8(&publish.topic) else {
            tracing::debug!("a message is skipped: its topic is not UTF-8");
            return Ok(None);
        };
        let properties = publish.properties.as_ref();
        let expires_in = properties.and_then(|all| all.message_expiry_interval);
        Ok(Some(Watched {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(&publish.payload),
            retained: publish.retain,
            expires_in: expires_in.map(|seconds| Duration::from_secs(seconds.into())),
        }))
    }

    fn acknowledge(&mut self, publish: &Publish) -> Result<(), ConnectionError> {
        match publish.qos {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => {
                let puback = PubAck::new(publish.pkid, None);
                Ok(self.connection.network.put(Packet::PubAck(puback))?)
            }
            // The session of this connection is new, and nothing was subscribed with QoS 2.
            QoS::ExactlyOnce => Err(ConnectionError::Protocol("QoS 2 was not requested")),
        }
    }
}
