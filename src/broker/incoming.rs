//! What the topic of a message means.

use fleet_contract::operation::Operation;
use fleet_contract::topics::{StreamKind, TopicKind};

use crate::streams::MAX_RECORD;

/// The meaning of a message, by its topic. The session passes it to the router as the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A request.
    Request {
        /// The name in the topic, such as `manifest/apply`.
        name: String,
        /// The operation with that name; `None` if there is none.
        operation: Option<Operation>,
    },
    /// The record of a subscription.
    Subscription {
        /// Whether it is a subscription to events or to logs.
        kind: StreamKind,
        /// Its id, which may be invalid.
        id: String,
    },
    /// The record of a rollout.
    Rollout {
        /// Its id, which may be invalid.
        id: String,
    },
    /// Any other message.
    Other {
        /// Its topic.
        topic: String,
    },
}

impl Incoming {
    pub(super) fn new(topic: &str, kind: TopicKind<'_>) -> Self {
        match kind {
            TopicKind::Request { name, operation } => {
                Self::Request { name: name.to_owned(), operation }
            }
            TopicKind::Subscription { kind, id } => Self::Subscription { kind, id: id.to_owned() },
            TopicKind::Rollout { id } => Self::Rollout { id: id.to_owned() },
            TopicKind::Status | TopicKind::Standby | TopicKind::Connector | TopicKind::Other => {
                Self::Other { topic: topic.to_owned() }
            }
        }
    }

    /// Maximum payload of such a message, in bytes. `max_payload` is that of a request.
    pub(super) fn max_payload(&self, max_payload: usize) -> usize {
        match self {
            Self::Request { .. } => max_payload,
            Self::Subscription { .. } | Self::Rollout { .. } | Self::Other { .. } => {
                max_payload.max(MAX_RECORD)
            }
        }
    }
}
