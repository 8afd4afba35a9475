//! Messages that are published.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use service_kit::clock::Deadline;

use crate::connect::seconds;

/// How much the log shows of a topic, in characters.
const SHOWN: usize = 200;

/// The reply to a [`Message`](crate::Message).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The delivery of the request.
    pub delivery: u64,
    /// Where it is published.
    pub topic: String,
    /// Where it is published if the broker does not accept it on `topic`.
    pub fallback_topic: Option<String>,
    /// *Correlation Data* of the request.
    pub correlation_data: Option<Bytes>,
    /// *User Properties*.
    pub user_properties: Vec<(String, String)>,
    /// UTF-8 text.
    pub payload: Bytes,
    /// Whether a payload that is too large for the broker may be shortened; otherwise an error is
    /// published instead.
    pub can_shorten: bool,
}

impl Reply {
    /// Removes everything that was copied from the request: it may be what the broker does not
    /// accept. Returns whether there was anything.
    pub(crate) fn forget_request(&mut self) -> bool {
        let had_any = self.correlation_data.is_some() || !self.user_properties.is_empty();
        self.correlation_data = None;
        self.user_properties.clear();
        had_any
    }

    /// A small reply, for tests.
    #[cfg(test)]
    pub(crate) fn to(delivery: u64) -> Self {
        Self {
            delivery,
            topic: "vehicle/1/state/resp".into(),
            fallback_topic: None,
            correlation_data: None,
            user_properties: vec![("request-id".into(), "r".into())],
            payload: Bytes::from_static(b"{}"),
            can_shorten: false,
        }
    }
}

/// A message that is not a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where it is published.
    pub topic: String,
    /// UTF-8 text; an empty payload removes the retained message of the topic.
    pub payload: Bytes,
    /// Whether the broker retains it.
    pub retain: bool,
    /// When it expires. The *Message Expiry Interval* is what is left when it is sent, perhaps long
    /// after it was queued, or once more.
    pub expiry: Option<Deadline>,
}

/// The end of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// The reply to a message.
    Reply(Reply),
    /// A delivery without a reply.
    Done {
        /// The delivery.
        delivery: u64,
    },
}

/// A message on its way to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outbound {
    /// A reply.
    Reply(Reply),
    /// A message that is not a reply.
    Publication(Publication),
    /// The status of the application, retained.
    Status { topic: String, payload: Bytes },
}

impl Outbound {
    /// Size of the payload in bytes.
    pub(crate) fn size(&self) -> usize {
        self.payload().len()
    }

    /// Where it is published.
    pub(crate) fn topic(&self) -> &str {
        match self {
            Self::Reply(Reply { topic, .. })
            | Self::Publication(Publication { topic, .. })
            | Self::Status { topic, .. } => topic,
        }
    }

    /// The beginning of the topic, for the log: a client can ask for a reply on a topic of 64
    /// KiB.
    pub(crate) fn short_topic(&self) -> &str {
        let topic = self.topic();
        topic.char_indices().nth(SHOWN).and_then(|(end, _)| topic.get(..end)).unwrap_or(topic)
    }

    /// Whether the broker retains it.
    pub(crate) fn is_retained(&self) -> bool {
        match self {
            Self::Reply(_) => false,
            Self::Publication(publication) => publication.retain,
            Self::Status { .. } => true,
        }
    }

    /// Whether it is of no use unless the broker retains it.
    pub(crate) fn is_record(&self) -> bool {
        matches!(self, Self::Publication(publication) if publication.retain)
    }

    /// Whether it replaces an older retained message at the broker. One without a payload
    /// removes that.
    pub(crate) fn supersedes(&self, older: &Self) -> bool {
        self.is_retained() && older.is_retained() && self.topic() == older.topic()
    }

    /// The packet, still without a packet identifier.
    pub(crate) fn publish(&self, content_type: &str) -> Publish {
        let mut properties = PublishProperties {
            payload_format_indicator: Some(1),
            content_type: Some(content_type.into()),
            ..PublishProperties::default()
        };
        match self {
            Self::Reply(reply) => {
                properties.correlation_data.clone_from(&reply.correlation_data);
                properties.user_properties.clone_from(&reply.user_properties);
            }
            Self::Publication(publication) => {
                properties.message_expiry_interval = publication.expiry.map(interval);
            }
            Self::Status { .. } => {}
        }
        let payload = self.payload().clone();
        let mut publish = Publish::new(self.topic(), QoS::AtLeastOnce, payload, Some(properties));
        publish.retain = self.is_retained();
        publish
    }

    /// Replaces the payload.
    pub(crate) fn set_payload(&mut self, new: Bytes) {
        match self {
            Self::Reply(Reply { payload, .. })
            | Self::Publication(Publication { payload, .. })
            | Self::Status { payload, .. } => *payload = new,
        }
    }

    pub(crate) fn payload(&self) -> &Bytes {
        match self {
            Self::Reply(Reply { payload, .. })
            | Self::Publication(Publication { payload, .. })
            | Self::Status { payload, .. } => payload,
        }
    }
}

/// The *Message Expiry Interval*: at least a second, because for some brokers 0 is without end.
fn interval(expiry: Deadline) -> u32 {
    seconds(expiry.left()).max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_sent_late_expires_at_the_same_time() {
        let expiry = Some(Deadline::after(Duration::from_secs(3600)));
        let (topic, payload) = ("t".to_owned(), Bytes::from_static(b"{}"));
        let message = Outbound::Publication(Publication { topic, payload, retain: true, expiry });
        let interval = || {
            let properties = message.publish("application/json").properties;
            properties.and_then(|properties| properties.message_expiry_interval)
        };
        assert!(matches!(interval(), Some(3599 | 3600)));
        advance(Duration::from_secs(3000)).await;
        assert!(matches!(interval(), Some(599 | 600)));
        advance(Duration::from_secs(3000)).await;
        assert_eq!(interval(), Some(1));
    }
}
