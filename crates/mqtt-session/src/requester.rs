//! Sends requests and receives what others publish, by a connection of its own.
//!
//! Nothing outlives the connection: what was not acknowledged then may have arrived or not, and
//! messages that arrive later are lost. Its user knows what to ask again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAck, Publish, PublishProperties, Subscribe};
use service_kit::clock::Deadline;
use tokio::time::Instant;

use crate::application::{RefusedSubscription, Subscription};
use crate::connect::{greedy_packet, seconds};
use crate::connection::Connection;
use crate::connection_error::ConnectionError;
use crate::filter::filter;
use crate::incoming_packet::{Acknowledgement, Received};
use crate::metrics::SessionMetrics;
use crate::options::SessionOptions;
use crate::reason_code::{ReasonCode, SubscribeRule};

/// The packet identifier of SUBSCRIBE. Nothing is published before it, so any is free.
const SUBSCRIBE_ID: u16 = 1;

/// Requests that may wait until the broker has acknowledged others.
const MAX_WAITING: usize = 1024;

/// A message to be published with QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Names the request in [`RequesterEvent`].
    pub token: u64,
    /// Where it is published.
    pub topic: String,
    /// Any bytes.
    pub payload: Bytes,
    /// *Response Topic*.
    pub response_topic: Option<String>,
    /// *Correlation Data*.
    pub correlation_data: Option<Bytes>,
    /// When the broker drops it (*Message Expiry Interval*).
    pub expiry: Option<Deadline>,
    /// *User Properties*.
    pub user_properties: Vec<(String, String)>,
    /// How much longer than usual the broker may be silent before it acknowledges the request. A
    /// cluster that first hands it to thousands of sessions does nothing else for this connection.
    pub patience: Duration,
}

/// A request without an acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Sent {
    token: u64,
    patience: Duration,
}

/// A message that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Where it was published.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// Whether the broker had retained it before the subscription.
    pub retained: bool,
    /// *Correlation Data*.
    pub correlation_data: Option<Bytes>,
    /// *User Properties*.
    pub user_properties: Vec<(String, String)>,
}

impl Delivered {
    /// The first value of a user property.
    #[must_use]
    pub fn user_property(&self, name: &str) -> Option<&str> {
        let mut equal = self.user_properties.iter().filter(|(found, _)| found == name);
        equal.next().map(|(_, value)| value.as_str())
    }
}

/// What happens on the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequesterEvent {
    /// The broker has answered the subscriptions; those that it has refused.
    Subscribed(Vec<RefusedSubscription>),
    /// A message has arrived.
    Message(Delivered),
    /// A message was too large, and is lost.
    TooLarge {
        /// Where it was published.
        topic: String,
        /// Size of its payload, in bytes.
        size: usize,
    },
    /// The broker has a request.
    Accepted {
        /// The request.
        token: u64,
        /// Whether somebody is subscribed to its topic, as far as the broker says so.
        has_subscribers: bool,
    },
    /// The broker does not take a request.
    Refused {
        /// The request.
        token: u64,
        /// Why, for people.
        reason: String,
    },
}

/// A connection without a persistent session that publishes requests and receives messages.
pub struct Requester {
    connection: Connection,
    subscriptions: Vec<Subscription>,
    /// Requests that are not sent, in order.
    waiting: VecDeque<Request>,
    /// Requests without an acknowledgement, by packet identifier.
    sent: BTreeMap<u16, Sent>,
    packet_id: u16,
    /// Events that need no packet of the broker.
    ready: VecDeque<RequesterEvent>,
}

impl Requester {
    /// Connects as `client_id` and subscribes. The answer is [`RequesterEvent::Subscribed`].
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn open(
        options: &SessionOptions,
        client_id: String,
        subscriptions: Vec<Subscription>,
        metrics: &SessionMetrics,
    ) -> Result<Self, ConnectionError> {
        let packet = greedy_packet(options, client_id)?;
        let (mut connection, _) = Connection::open(options, packet, metrics).await?;
        let filters = subscriptions.iter().map(filter);
        let subscribe = Subscribe { pkid: SUBSCRIBE_ID, ..Subscribe::new_many(filters, None) };
        connection.network.put(Packet::Subscribe(subscribe))?;
        Ok(Self {
            connection,
            subscriptions,
            waiting: VecDeque::new(),
            sent: BTreeMap::new(),
            packet_id: SUBSCRIBE_ID,
            ready: VecDeque::new(),
        })
    }

    /// Whether there is room for one more request. If not, [`next`](Self::next) makes some.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    /// Publishes a request after all others. [`next`](Self::next) sends it.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub fn request(&mut self, request: Request) -> Result<(), ConnectionError> {
        self.waiting.push_back(request);
        self.send()
    }

    /// Waits for the next event. Cancel safe.
    ///
    /// # Errors
    /// Why the connection has ended.
    pub async fn next(&mut self) -> Result<RequesterEvent, ConnectionError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let connection = &mut self.connection;
            tokio::select! {
                packet = connection.network.next() => if let Some(packet) = packet? {
                    self.incoming(packet)?;
                },
                () = &mut connection.next_check => {
                    let patience = self.sent.values().map(|sent| sent.patience).max();
                    connection.check_patiently(patience.unwrap_or_default())?;
                }
            }
            self.send()?;
        }
    }

    /// Ends the connection after what was published, as far as the broker reads it.
    pub async fn close(mut self) {
        let _ = self.send();
        self.connection.close().await;
    }

    /// Sends what the broker may have at once.
    fn send(&mut self) -> Result<(), ConnectionError> {
        // A request before the answer to SUBSCRIBE could be answered too early.
        if self.connection.ready.is_none() {
            return Ok(());
        }
        let has_qos_1 =
            self.connection.properties.as_ref().is_none_or(|all| all.max_qos != Some(0));
        while self.connection.network.has_room()
            && self.sent.len() < usize::from(self.connection.max_unacknowledged)
            && let Some(request) = self.waiting.pop_front()
        {
            let (token, patience) = (request.token, request.patience);
            let mut publish = publish(request);
            // `Publish::size` does not count the packet identifier while that is 0.
            let size = publish.size() + 2;
            let max = self.connection.max_packet;
            if size > max {
                let reason = format!("it needs {size} bytes, but the broker accepts at most {max}");
                self.ready.push_back(RequesterEvent::Refused { token, reason });
                continue;
            }
            if has_qos_1 {
                publish.pkid = self.free_packet_id();
                self.sent.insert(publish.pkid, Sent { token, patience });
            } else {
                publish.qos = QoS::AtMostOnce;
                self.ready.push_back(RequesterEvent::Accepted { token, has_subscribers: true });
            }
            self.connection.network.put(Packet::Publish(publish))?;
        }
        Ok(())
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            if !self.sent.contains_key(&self.packet_id) {
                return self.packet_id;
            }
        }
    }

    fn incoming(&mut self, packet: Received) -> Result<(), ConnectionError> {
        let event = match packet {
            Received::Publish(publish) => {
                self.acknowledge(&publish)?;
                RequesterEvent::Message(delivered(publish))
            }
            Received::TooLarge { publish, size } => {
                self.acknowledge(&publish)?;
                RequesterEvent::TooLarge { topic: text(&publish.topic), size }
            }
            Received::SubAck { packet_id: SUBSCRIBE_ID, codes, .. }
                if codes.len() == self.subscriptions.len() =>
            {
                self.connection.granted(Instant::now());
                RequesterEvent::Subscribed(refused(&self.subscriptions, &codes))
            }
            Received::PubAck(Acknowledgement { packet_id, code, text }) => {
                let Some(Sent { token, .. }) = self.sent.remove(&packet_id) else { return Ok(()) };
                if code.is_error() {
                    let reason = format!("{code} {text}");
                    RequesterEvent::Refused { token, reason: reason.trim_end().to_owned() }
                } else {
                    let has_subscribers = code != ReasonCode::NO_MATCHING_SUBSCRIBERS;
                    RequesterEvent::Accepted { token, has_subscribers }
                }
            }
            Received::Unusable(unusable) => {
                if let Some(packet_id) = unusable.packet_id {
                    let puback = PubAck::new(packet_id, None);
                    self.connection.network.put(Packet::PubAck(puback))?;
                }
                return Ok(());
            }
            Received::PingResp => return Ok(()),
            other => {
                tracing::debug!(?other, "a packet of the broker is skipped");
                return Ok(());
            }
        };
        self.ready.push_back(event);
        Ok(())
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

fn publish(request: Request) -> Publish {
    let properties = PublishProperties {
        response_topic: request.response_topic,
        correlation_data: request.correlation_data,
        // At least a second, because for some brokers 0 is without end.
        message_expiry_interval: request.expiry.map(|expiry| seconds(expiry.left()).max(1)),
        user_properties: request.user_properties,
        ..PublishProperties::default()
    };
    Publish::new(request.topic, QoS::AtLeastOnce, request.payload, Some(properties))
}

fn delivered(publish: Publish) -> Delivered {
    let properties = publish.properties.unwrap_or_default();
    Delivered {
        topic: text(&publish.topic),
        payload: publish.payload,
        retained: publish.retain,
        correlation_data: properties.correlation_data,
        user_properties: properties.user_properties,
    }
}

/// A topic. Brokers let only UTF-8 through.
fn text(topic: &[u8]) -> String {
    String::from_utf8_lossy(topic).into_owned()
}

fn refused(asked: &[Subscription], codes: &[ReasonCode]) -> Vec<RefusedSubscription> {
    let refused =
        asked.iter().zip(codes).filter(|(_, code)| code.subscribe_rule() == SubscribeRule::Refused);
    refused
        .map(|(subscription, code)| RefusedSubscription {
            subscription: subscription.clone(),
            code: *code,
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_all_its_properties() {
        let request = Request {
            token: 7,
            topic: "vehicle/1/state/req".into(),
            payload: Bytes::from_static(b"[]"),
            response_topic: Some("vehicle/1/reply/x/resp".into()),
            correlation_data: Some(Bytes::from_static(b"7")),
            expiry: Some(Deadline::after(Duration::from_millis(300))),
            user_properties: vec![("request-id".into(), "r".into())],
            patience: Duration::ZERO,
        };
        let publish = publish(request);
        let properties = publish.properties.unwrap();
        assert_eq!(publish.qos, QoS::AtLeastOnce);
        assert_eq!(properties.response_topic.as_deref(), Some("vehicle/1/reply/x/resp"));
        assert_eq!(properties.correlation_data.as_deref(), Some(&b"7"[..]));
        assert_eq!(properties.message_expiry_interval, Some(1));
        assert_eq!(properties.user_properties, [("request-id".to_owned(), "r".to_owned())]);
    }
}
