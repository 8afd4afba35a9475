//! A message that has arrived.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

use crate::unsent::KEEP_BUFFER;

/// Longest value of a user property that is kept, in bytes.
const MAX_USER_PROPERTY: usize = 256;

/// A message that has arrived, for the consumer. Its delivery ends with
/// [`Outgoing`](crate::Outgoing).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<R> {
    /// Identifies the delivery; the reply must carry the same.
    pub delivery: u64,
    /// What the application has made of the topic.
    pub route: R,
    /// Whether the broker had retained it before this connection subscribed.
    pub retained: bool,
    /// The payload, unless it was dropped.
    pub payload: Result<Bytes, Refused>,
    /// *Response Topic* (MQTT 5, 3.3.2.3.5), as it was sent.
    pub response_topic: Option<String>,
    /// *Correlation Data* (MQTT 5, 3.3.2.3.6), for the reply.
    pub correlation_data: Option<Bytes>,
    /// *Message Expiry Interval* (MQTT 5, 3.3.2.3.3): what the broker has left of it.
    pub expires_in: Option<Duration>,
    /// *User Properties* (MQTT 5, 3.3.2.3.7) with the names in
    /// [`SessionOptions::user_properties`](crate::SessionOptions::user_properties).
    /// Of equal names only the first one is there, and none whose value has more than 256
    /// bytes.
    pub user_properties: Vec<(String, String)>,
}

/// Why the payload of a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is larger than allowed.
    TooLarge {
        /// Size of the payload in bytes.
        size: usize,
    },
    /// Too much is waiting already, and the broker does not hold the message back: it was
    /// published with QoS 0, for example.
    TooMany,
}

impl<R> Message<R> {
    /// Takes a packet apart. The payload is kept up to `max_payload` bytes, and of the user
    /// properties those with `names`.
    ///
    /// Small parts are copied: otherwise they would keep the whole receive buffer alive.
    pub(crate) fn new(
        publish: Publish,
        delivery: u64,
        route: R,
        max_payload: usize,
        names: &[&str],
    ) -> Self {
        let retained = publish.retain;
        let PublishProperties {
            response_topic,
            correlation_data,
            user_properties,
            message_expiry_interval,
            ..
        } = publish.properties.unwrap_or_default();
        let seconds = |seconds| Duration::from_secs(u64::from(seconds));
        let expires_in = message_expiry_interval.map(seconds);
        let correlation_data = correlation_data.map(|data| Bytes::copy_from_slice(&data));
        let first = |name: &&str| user_properties.iter().find(|(found, _)| found == *name);
        let user_properties = names
            .iter()
            .filter_map(first)
            .filter(|(_, value)| value.len() <= MAX_USER_PROPERTY)
            .cloned()
            .collect();
        let payload = match publish.payload.len() {
            size if size > max_payload => Err(Refused::TooLarge { size }),
            size if size > KEEP_BUFFER => Ok(publish.payload),
            _ => Ok(Bytes::copy_from_slice(&publish.payload)),
        };
        Self {
            delivery,
            route,
            retained,
            payload,
            response_topic,
            correlation_data,
            expires_in,
            user_properties,
        }
    }

    /// The value of a user property.
    #[must_use]
    pub fn user_property(&self, name: &str) -> Option<&str> {
        let mut equal = self.user_properties.iter().filter(|(found, _)| found == name);
        equal.next().map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::QoS;

    use super::*;

    fn message(properties: &[(&str, &str)], payload: usize) -> Message<()> {
        let owned = properties.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let properties =
            PublishProperties { user_properties: owned.collect(), ..PublishProperties::default() };
        let payload = vec![b' '; payload];
        let publish = Publish::new("t", QoS::AtLeastOnce, payload, Some(properties));
        Message::new(publish, 1, (), 1000, &["request-id", "force"])
    }

    #[test]
    fn only_the_first_user_property_of_each_known_name_is_kept() {
        let long = "x".repeat(MAX_USER_PROPERTY + 1);
        let message = message(
            &[
                ("other", "1"),
                ("request-id", "a"),
                ("request-id", "b"),
                ("force", &long),
                ("force", "true"),
            ],
            0,
        );
        assert_eq!(message.user_properties, [("request-id".to_owned(), "a".to_owned())]);
        assert_eq!(message.user_property("request-id"), Some("a"));
        assert_eq!(message.user_property("force"), None);
    }

    #[test]
    fn a_payload_that_is_too_large_is_dropped() {
        assert_eq!(message(&[], 1000).payload.map(|payload| payload.len()), Ok(1000));
        assert_eq!(message(&[], 1001).payload, Err(Refused::TooLarge { size: 1001 }));
    }
}
