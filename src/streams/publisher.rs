//! Publishes the messages of streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::mqtt::{Publication, Recall, Sender, SessionEnded};

/// Messages that are written at the same time. Others are not written before one of
/// these has found room in the session.
const WRITERS: usize = 4;

/// Hands messages to the MQTT session, and waits while it has too many. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    outgoing: Sender,
    way: Way,
    recalls: Recalls,
    streams: Arc<Semaphore>,
    replies: Arc<Semaphore>,
}

/// What a message waits for.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// For the messages of other streams.
    Streams,
    /// For replies only.
    Replies,
}

/// What is taken back of what a subscription publishes.
#[derive(Debug, Clone, Default)]
pub(super) struct Recalls {
    /// Its messages.
    pub(super) messages: Recall,
    /// What the broker is to keep of it.
    pub(super) records: Recall,
}

impl Publisher {
    /// Publishes by way of `outgoing`.
    #[must_use]
    pub fn new(outgoing: Sender) -> Self {
        let [streams, replies] = [(), ()].map(|()| Arc::new(Semaphore::new(WRITERS)));
        Self { outgoing, way: Way::Streams, recalls: Recalls::default(), streams, replies }
    }

    /// One whose messages can be taken back.
    pub(super) fn with(&self, recalls: Recalls) -> Self {
        Self { recalls, ..self.clone() }
    }

    /// One whose messages wait for no stream. A reply that is given afterwards comes after
    /// them.
    pub(super) fn before_reply(&self) -> Self {
        Self { way: Way::Replies, ..self.clone() }
    }

    /// Publishes a message.
    pub(super) async fn send(
        &self,
        topic: &str,
        message: &impl Serialize,
    ) -> Result<(), SessionEnded> {
        let _writer = self.writer().await?;
        let (topic, payload) = (topic.to_owned(), to_json(message));
        let publication = Publication { topic, payload, retain: false, expiry: None };
        self.publish(publication, &self.recalls.messages).await
    }

    /// Publishes a message that the broker keeps, for ever or so long.
    pub(super) async fn retain(
        &self,
        topic: &str,
        message: &impl Serialize,
        expiry: Option<Duration>,
    ) -> Result<(), SessionEnded> {
        let _writer = self.writer().await?;
        let record = retained(topic, to_json(message), expiry);
        self.publish(record, &self.recalls.records).await
    }

    /// Removes what the broker keeps.
    pub(super) async fn remove(&self, topic: &str) -> Result<(), SessionEnded> {
        let _writer = self.writer().await?;
        self.publish(retained(topic, Bytes::new(), None), &self.recalls.records).await
    }

    /// Notes what the broker keeps since a former process, in case that the broker loses
    /// it.
    pub(super) async fn kept(
        &self,
        topic: &str,
        message: &impl Serialize,
        expiry: Option<Duration>,
    ) -> Result<(), SessionEnded> {
        let _writer = Self::turn(&self.replies).await?;
        let record = retained(topic, to_json(message), expiry);
        self.outgoing.kept(record, &self.recalls.records).await
    }

    async fn publish(&self, publication: Publication, recall: &Recall) -> Result<(), SessionEnded> {
        match self.way {
            Way::Streams => self.outgoing.publish(publication, recall).await,
            Way::Replies => self.outgoing.publish_as_reply(publication, recall).await,
        }
    }

    /// Waits for a turn: until then nothing is written.
    async fn writer(&self) -> Result<SemaphorePermit<'_>, SessionEnded> {
        match self.way {
            Way::Streams => Self::turn(&self.streams).await,
            Way::Replies => Self::turn(&self.replies).await,
        }
    }

    async fn turn(writers: &Semaphore) -> Result<SemaphorePermit<'_>, SessionEnded> {
        writers.acquire().await.map_err(|_| SessionEnded)
    }
}

fn retained(topic: &str, payload: Bytes, expiry: Option<Duration>) -> Publication {
    Publication { topic: topic.to_owned(), payload, retain: true, expiry }
}

fn to_json(message: &impl Serialize) -> Bytes {
    serde_json::to_vec(message).expect("maps with text as keys always become JSON").into()
}
