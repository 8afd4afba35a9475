//! What is published.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

use super::connect::seconds;
use super::request::REQUEST_ID;

/// The reply to a [`Request`](super::Request).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The delivery of the request.
    pub delivery: u64,
    /// Where it goes.
    pub topic: String,
    /// Where it goes if the broker does not let it go there.
    pub fallback_topic: Option<String>,
    /// *Correlation Data* of the request.
    pub correlation_data: Option<Bytes>,
    /// User property `request-id`.
    pub request_id: String,
    /// UTF-8 JSON.
    pub payload: Bytes,
}

impl Reply {
    /// Takes away what came with the request: it may be what the broker does not take.
    pub(super) fn forget_request(&mut self) {
        self.correlation_data = None;
        self.request_id.clear();
    }

    /// A small one, for tests.
    #[cfg(test)]
    pub(super) fn to(delivery: u64) -> Self {
        Self {
            delivery,
            topic: "vehicle/1/state/resp".into(),
            fallback_topic: None,
            correlation_data: None,
            request_id: "r".into(),
            payload: Bytes::from_static(b"{}"),
        }
    }
}

/// A message that is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where it goes.
    pub topic: String,
    /// UTF-8 JSON; empty to remove what is retained.
    pub payload: Bytes,
    /// The broker keeps it for those who subscribe later.
    pub retain: bool,
    /// How long the broker keeps it.
    pub expiry: Option<Duration>,
}

/// What ends the delivery of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// The reply to a request.
    Reply(Reply),
    /// A delivery that needs no reply.
    Done {
        /// The delivery.
        delivery: u64,
    },
}

/// A message on its way to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Reply(Reply),
    Publication(Publication),
    /// The connector's presence, retained.
    Status {
        topic: String,
        payload: Bytes,
    },
}

impl Message {
    /// Bytes of the payload.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Reply(Reply { payload, .. })
            | Self::Publication(Publication { payload, .. })
            | Self::Status { payload, .. } => payload.len(),
        }
    }

    /// Where it goes.
    pub(super) fn topic(&self) -> &str {
        match self {
            Self::Reply(Reply { topic, .. })
            | Self::Publication(Publication { topic, .. })
            | Self::Status { topic, .. } => topic,
        }
    }

    /// Whether the broker keeps it for those who subscribe later.
    pub(super) fn is_retained(&self) -> bool {
        match self {
            Self::Reply(_) => false,
            Self::Publication(publication) => publication.retain,
            Self::Status { .. } => true,
        }
    }

    /// Whether the broker keeps it in the place of an older one. An empty one removes
    /// that.
    pub(super) fn supersedes(&self, older: &Self) -> bool {
        self.is_retained() && older.is_retained() && self.topic() == older.topic()
    }

    pub(super) fn publish(&self) -> Publish {
        let mut properties = PublishProperties {
            payload_format_indicator: Some(1),
            content_type: Some("application/json".into()),
            ..PublishProperties::default()
        };
        let payload = match self {
            Self::Reply(reply) => {
                properties.correlation_data = reply.correlation_data.clone();
                properties.user_properties = vec![(REQUEST_ID.into(), reply.request_id.clone())];
                &reply.payload
            }
            Self::Publication(publication) => {
                properties.message_expiry_interval = publication.expiry.map(seconds);
                &publication.payload
            }
            Self::Status { payload, .. } => payload,
        };
        let mut publish =
            Publish::new(self.topic(), QoS::AtLeastOnce, payload.clone(), Some(properties));
        publish.retain = self.is_retained();
        publish
    }
}
