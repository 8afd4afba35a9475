//! Publishes the messages of streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::mqtt::{Outgoing, Publication, Sender, SessionEnded};

/// Messages that are written at the same time. Others are not written before one of
/// these has found room in the session.
const WRITERS: usize = 4;

/// Hands messages to the MQTT session, and waits while it has too many. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    outgoing: Sender,
    writers: Arc<Semaphore>,
}

impl Publisher {
    /// Publishes by way of `outgoing`.
    #[must_use]
    pub fn new(outgoing: Sender) -> Self {
        Self { outgoing, writers: Arc::new(Semaphore::new(WRITERS)) }
    }

    /// Publishes a message.
    pub(super) async fn send(
        &self,
        topic: &str,
        message: &impl Serialize,
    ) -> Result<(), SessionEnded> {
        let _writer = self.writer().await?;
        let publication = Publication { retain: false, ..retained(topic, to_json(message), None) };
        self.outgoing.send(Outgoing::Publication(publication)).await
    }

    /// Publishes a message that the broker keeps, for ever or so long.
    pub(super) async fn retain(
        &self,
        topic: &str,
        message: &impl Serialize,
        expiry: Option<Duration>,
    ) -> Result<(), SessionEnded> {
        let _writer = self.writer().await?;
        let publication = retained(topic, to_json(message), expiry);
        self.outgoing.send(Outgoing::Publication(publication)).await
    }

    /// Removes what the broker keeps.
    pub(super) async fn remove(&self, topic: &str) -> Result<(), SessionEnded> {
        let _writer = self.writer().await?;
        let publication = retained(topic, Bytes::new(), None);
        self.outgoing.send(Outgoing::Publication(publication)).await
    }

    /// As [`retain`](Self::retain). A reply that is given afterwards comes after the
    /// message, and so after all that was published before it.
    pub(super) async fn retain_first(
        &self,
        topic: &str,
        message: &impl Serialize,
        expiry: Option<Duration>,
    ) -> Result<(), SessionEnded> {
        let _writer = self.writer().await?;
        self.outgoing.send_in_order(retained(topic, to_json(message), expiry)).await
    }

    /// As [`remove`](Self::remove). A reply that is given afterwards comes after it.
    pub(super) async fn remove_first(&self, topic: &str) -> Result<(), SessionEnded> {
        let _writer = self.writer().await?;
        self.outgoing.send_in_order(retained(topic, Bytes::new(), None)).await
    }

    /// Notes what the broker keeps since a former process, in case that the broker loses
    /// it.
    pub(super) async fn kept(
        &self,
        topic: &str,
        message: &impl Serialize,
        expiry: Option<Duration>,
    ) -> Result<(), SessionEnded> {
        let _writer = self.writer().await?;
        self.outgoing.kept(retained(topic, to_json(message), expiry)).await
    }

    /// Waits for a turn: until then nothing is written.
    async fn writer(&self) -> Result<SemaphorePermit<'_>, SessionEnded> {
        self.writers.acquire().await.map_err(|_| SessionEnded)
    }
}

fn retained(topic: &str, payload: Bytes, expiry: Option<Duration>) -> Publication {
    Publication { topic: topic.to_owned(), payload, retain: true, expiry }
}

fn to_json(message: &impl Serialize) -> Bytes {
    serde_json::to_vec(message).expect("maps with text as keys always become JSON").into()
}
