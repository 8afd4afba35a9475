//! A PUBLISH packet as a request.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

use super::network::KEEP_BUFFER;

/// Name of the user property that identifies a request.
pub(super) const REQUEST_ID: &str = "request-id";

/// Longest value of it that is taken, in bytes.
const MAX_REQUEST_ID: usize = 256;

/// Name of the user property that lifts the protection of workloads.
const FORCE: &str = "force";

/// The largest record of the connector that is read back from the broker, in bytes: that
/// of the largest subscription, if all of it has to be escaped.
pub(crate) const MAX_RECORD: usize = 512 * 1024;

/// A message on a request topic, or a retained record of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Identifies the delivery; the reply must carry the same.
    pub delivery: u64,
    /// The topic it was published to.
    pub topic: String,
    /// The broker has kept it since before this connection.
    pub retained: bool,
    /// What was published, unless it was thrown away.
    pub payload: Result<Bytes, Refused>,
    /// *Response Topic* (MQTT 5, 3.3.2.3.5), as it came.
    pub response_topic: Option<String>,
    /// *Correlation Data* (MQTT 5, 3.3.2.3.6), for the reply.
    pub correlation_data: Option<Bytes>,
    /// User property `request-id`.
    pub request_id: Option<String>,
    /// User property `force` with the value `true`.
    pub force: bool,
}

/// Why the payload of a request was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is larger than allowed.
    TooLarge {
        /// Size of the payload in bytes.
        size: usize,
    },
    /// It was published with QoS 0, so that the broker cannot hold it back, and
    /// too much is waiting already.
    TooMany,
}

impl Request {
    /// Takes a packet apart. The payload is kept up to `max_payload` bytes.
    ///
    /// Small parts are copied: they would keep alive all that was read with them.
    pub(super) fn new(publish: Publish, topic: String, delivery: u64, max_payload: usize) -> Self {
        let retained = publish.retain;
        let PublishProperties { response_topic, correlation_data, user_properties, .. } =
            publish.properties.unwrap_or_default();
        let correlation_data = correlation_data.map(|data| Bytes::copy_from_slice(&data));
        let property = |name| user_properties.iter().find(|(key, _)| key == name);
        // It is repeated in replies, progress and log.
        let request_id = property(REQUEST_ID).map(|(_, value)| value.clone());
        let request_id = request_id.filter(|id| id.len() <= MAX_REQUEST_ID);
        let force = property(FORCE).is_some_and(|(_, value)| value == "true");
        let payload = match publish.payload.len() {
            size if size > max_payload => Err(Refused::TooLarge { size }),
            size if size > KEEP_BUFFER => Ok(publish.payload),
            _ => Ok(Bytes::copy_from_slice(&publish.payload)),
        };
        Self {
            delivery,
            topic,
            retained,
            payload,
            response_topic,
            correlation_data,
            request_id,
            force,
        }
    }
}

/// Recognises a message that is delivered again.
#[derive(Debug, Default)]
pub(super) struct Fingerprints {
    // Keyed at random: nobody outside can make two messages look the same.
    hasher: RandomState,
}

impl Fingerprints {
    pub(super) fn of(&self, publish: &Publish) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        publish.topic.hash(&mut hasher);
        publish.payload.hash(&mut hasher);
        if let Some(properties) = &publish.properties {
            properties.response_topic.hash(&mut hasher);
            properties.correlation_data.hash(&mut hasher);
            properties.user_properties.hash(&mut hasher);
        }
        hasher.finish()
    }
}
