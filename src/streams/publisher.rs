//! Publishes the messages of streams.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::mqtt::{Outgoing, Publication, Sender, SessionEnded};

/// Hands messages to the MQTT session, and waits while it has too many.
#[derive(Debug, Clone)]
pub struct Publisher {
    outgoing: Sender,
}

impl Publisher {
    /// Publishes by way of `outgoing`.
    #[must_use]
    pub fn new(outgoing: Sender) -> Self {
        Self { outgoing }
    }

    /// Publishes a message.
    pub(super) async fn send(
        &self,
        topic: &str,
        message: &impl Serialize,
    ) -> Result<(), SessionEnded> {
        self.publish(topic, to_json(message), false, None).await
    }

    /// Publishes a message that the broker keeps, for ever or so long.
    pub(super) async fn retain(
        &self,
        topic: &str,
        message: &impl Serialize,
        expiry: Option<Duration>,
    ) -> Result<(), SessionEnded> {
        self.publish(topic, to_json(message), true, expiry).await
    }

    /// Removes what the broker keeps.
    pub(super) async fn remove(&self, topic: &str) -> Result<(), SessionEnded> {
        self.publish(topic, Bytes::new(), true, None).await
    }

    async fn publish(
        &self,
        topic: &str,
        payload: Bytes,
        retain: bool,
        expiry: Option<Duration>,
    ) -> Result<(), SessionEnded> {
        let publication = Publication { topic: topic.to_owned(), payload, retain, expiry };
        self.outgoing.send(Outgoing::Publication(publication)).await
    }
}

fn to_json(message: &impl Serialize) -> Bytes {
    serde_json::to_vec(message).expect("maps with text as keys always become JSON").into()
}
