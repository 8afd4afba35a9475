//! Publishes the messages of streams.

use std::time::Duration;

use bytes::Bytes;
use mqtt_session::{Lane, Publication, Sender, SessionEnded};
use serde::Serialize;
use service_kit::clock::Deadline;
use tokio::task::yield_now;

use super::recalls::Recalls;

/// Hands messages to the MQTT session, and waits while its queue is full. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    outgoing: Sender,
    lane: Lane,
    recalls: Recalls,
}

impl Publisher {
    /// A publisher for the session behind `outgoing`.
    #[must_use]
    pub(crate) fn new(outgoing: Sender) -> Self {
        Self { outgoing, lane: Lane::Streams, recalls: Recalls::default() }
    }

    /// A publisher whose queued messages can be recalled with these handles.
    pub(super) fn with(&self, recalls: Recalls) -> Self {
        Self { recalls, ..self.clone() }
    }

    /// A publisher whose messages do not wait for streams. They are sent before a reply that is
    /// handed over afterwards.
    pub(super) fn before_reply(&self) -> Self {
        Self { lane: Lane::Replies, ..self.clone() }
    }

    /// The largest message that the broker is likely to accept, in bytes.
    pub(super) fn max_message(&self) -> usize {
        self.outgoing.max_payload()
    }

    /// Publishes a message.
    pub(super) async fn send(
        &self,
        topic: &str,
        message: &impl Serialize,
    ) -> Result<(), SessionEnded> {
        let writer = self.outgoing.writer(self.lane).await?;
        let (topic, payload) = (topic.to_owned(), to_json(message));
        let publication = Publication { topic, payload, retain: false, expiry: None };
        writer.publish(publication, &self.recalls.messages).await
    }

    /// Publishes a message of a stream, and lets other tasks run before the next one. Otherwise a
    /// stream with many messages would keep the reader of the control interface waiting, and the
    /// agent gives up a frame that it cannot write within 500 ms.
    pub(super) async fn send_next(
        &self,
        topic: &str,
        message: &impl Serialize,
    ) -> Result<(), SessionEnded> {
        self.send(topic, message).await?;
        yield_now().await;
        Ok(())
    }

    /// Publishes a retained message, which expires after `expiry`.
    pub(super) async fn retain(
        &self,
        topic: &str,
        message: &impl Serialize,
        expiry: Option<Duration>,
    ) -> Result<(), SessionEnded> {
        let writer = self.outgoing.writer(self.lane).await?;
        writer.publish(retained(topic, to_json(message), expiry), &self.recalls.records).await
    }

    /// Removes a retained message.
    pub(super) async fn remove(&self, topic: &str) -> Result<(), SessionEnded> {
        let writer = self.outgoing.writer(self.lane).await?;
        writer.publish(retained(topic, Bytes::new(), None), &self.recalls.records).await
    }

    /// Tells the session about a message that the broker has retained for an earlier process, so
    /// that the session publishes it again if the broker loses it.
    pub(super) async fn note_retained(
        &self,
        topic: &str,
        message: &impl Serialize,
        expiry: Option<Duration>,
    ) -> Result<(), SessionEnded> {
        let writer = self.outgoing.writer(Lane::Replies).await?;
        writer.note_retained(retained(topic, to_json(message), expiry), &self.recalls.records).await
    }
}

fn retained(topic: &str, payload: Bytes, expiry: Option<Duration>) -> Publication {
    let expiry = expiry.map(Deadline::after);
    Publication { topic: topic.to_owned(), payload, retain: true, expiry }
}

/// A message as JSON.
pub(super) fn to_json(message: &impl Serialize) -> Bytes {
    serde_json::to_vec(message).expect("maps with text as keys always become JSON").into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mqtt_session::queue;

    use super::*;

    #[tokio::test]
    async fn other_tasks_run_between_the_messages_of_a_stream() {
        const MESSAGES: usize = 10;
        let (sender, _receiver) = queue();
        let publisher = Publisher::new(sender);
        let stream = tokio::spawn(async move {
            for message in 0..MESSAGES {
                publisher.send_next("topic", &message).await.unwrap();
            }
        });
        let mut turns = 0;
        while !stream.is_finished() {
            turns += 1;
            yield_now().await;
        }
        assert!(turns > MESSAGES, "{turns}");
    }
}
