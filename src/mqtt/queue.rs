//! The way to the session for what is to be published.
//!
//! Replies and streams have a way of their own: a reply does not wait behind the
//! messages of streams. Each holds so many bytes until the broker has taken them;
//! whoever has more waits.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::message::{Message, Outgoing, Publication};
use super::recall::Recall;

/// Messages on each of the two ways.
const MAX_MESSAGES: usize = 64;

/// Payloads of replies, and of what goes with them, in KiB.
const MAX_REPLIES: u32 = 32 * 1024;

/// Payloads of streams, in KiB.
const MAX_PUBLICATIONS: u32 = 16 * 1024;

/// The MQTT session has ended; there is nobody left to publish to.
#[derive(Debug, thiserror::Error)]
#[error("the MQTT session has ended")]
pub struct SessionEnded;

/// Hands messages to the MQTT session. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    replies: Way,
    publications: Way,
}

#[derive(Debug, Clone)]
struct Way {
    messages: mpsc::Sender<Queued>,
    /// In KiB.
    room: Arc<Semaphore>,
    max: u32,
}

/// What comes from all [`Sender`]s.
#[derive(Debug)]
pub struct Receiver {
    replies: mpsc::Receiver<Queued>,
    publications: mpsc::Receiver<Queued>,
}

/// A message with its place, which it keeps until the broker has taken it.
#[derive(Debug)]
pub(super) enum Queued {
    Message {
        message: Message,
        place: OwnedSemaphorePermit,
        recall: Option<Recall>,
    },
    Done {
        delivery: u64,
    },
    /// What the broker keeps already.
    Kept {
        record: Publication,
        recall: Recall,
        _place: OwnedSemaphorePermit,
    },
}

impl Queued {
    /// Whether it is not wanted any more.
    pub(super) fn is_recalled(&self) -> bool {
        match self {
            Self::Message { recall, .. } => recall.as_ref().is_some_and(Recall::is_recalled),
            Self::Kept { recall, .. } => recall.is_recalled(),
            Self::Done { .. } => false,
        }
    }
}

/// Makes both ends.
#[must_use]
pub fn queue() -> (Sender, Receiver) {
    let (replies, reply_receiver) = Way::new(MAX_REPLIES);
    let (publications, publication_receiver) = Way::new(MAX_PUBLICATIONS);
    let receiver = Receiver { replies: reply_receiver, publications: publication_receiver };
    (Sender { replies, publications }, receiver)
}

impl Sender {
    /// Waits until there is room.
    ///
    /// # Errors
    /// See [`SessionEnded`].
    pub async fn send(&self, outgoing: Outgoing) -> Result<(), SessionEnded> {
        match outgoing {
            Outgoing::Reply(reply) => self.replies.send(Message::Reply(reply), None).await,
            Outgoing::Done { delivery } => self.replies.put(Queued::Done { delivery }).await,
        }
    }

    /// Publishes a message of a stream, unless it is taken back. Waits until there is
    /// room.
    ///
    /// # Errors
    /// See [`SessionEnded`].
    pub async fn publish(
        &self,
        publication: Publication,
        recall: &Recall,
    ) -> Result<(), SessionEnded> {
        self.publications.send(Message::Publication(publication), Some(recall.clone())).await
    }

    /// As [`publish`](Self::publish), but on the way of the replies, in their order: what
    /// a reply promises comes before it, and neither waits for streams.
    ///
    /// # Errors
    /// See [`SessionEnded`].
    pub async fn publish_as_reply(
        &self,
        publication: Publication,
        recall: &Recall,
    ) -> Result<(), SessionEnded> {
        self.replies.send(Message::Publication(publication), Some(recall.clone())).await
    }

    /// Notes what the broker keeps since a former process: it is only published if the
    /// broker loses it. Waits for replies, but for no stream.
    ///
    /// # Errors
    /// See [`SessionEnded`].
    pub async fn kept(&self, record: Publication, recall: &Recall) -> Result<(), SessionEnded> {
        let _place = self.replies.room(record.payload.len()).await?;
        self.replies.put(Queued::Kept { record, recall: recall.clone(), _place }).await
    }
}

impl Way {
    fn new(max: u32) -> (Self, mpsc::Receiver<Queued>) {
        let (messages, receiver) = mpsc::channel(MAX_MESSAGES);
        let room = Arc::new(Semaphore::new(max as usize));
        (Self { messages, room, max }, receiver)
    }

    async fn send(&self, message: Message, recall: Option<Recall>) -> Result<(), SessionEnded> {
        let place = self.room(message.size()).await?;
        self.put(Queued::Message { message, place, recall }).await
    }

    /// Waits for room for so many bytes.
    async fn room(&self, size: usize) -> Result<OwnedSemaphorePermit, SessionEnded> {
        let size = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX);
        // What is larger than all the room comes when there is nothing else.
        let room = Arc::clone(&self.room).acquire_many_owned(size.min(self.max));
        room.await.map_err(|_| SessionEnded)
    }

    async fn put(&self, queued: Queued) -> Result<(), SessionEnded> {
        self.messages.send(queued).await.map_err(|_| SessionEnded)
    }
}

impl Receiver {
    /// The next message; replies first, and others only if `publications`.
    /// `None` once all [`Sender`]s are gone and everything was taken.
    pub(super) async fn next(&mut self, publications: bool) -> Option<Queued> {
        tokio::select! {
            biased;
            Some(reply) = self.replies.recv() => Some(reply),
            Some(publication) = self.publications.recv(), if publications => Some(publication),
            else => {
                if !publications && !self.publications.is_empty() {
                    std::future::pending::<()>().await;
                }
                None
            }
        }
    }

    /// A message of a stream that is there already, and was not taken back.
    #[cfg(test)]
    pub(crate) fn publication(&mut self) -> Option<crate::mqtt::Publication> {
        loop {
            let replies = self.replies.try_recv();
            let queued = replies.or_else(|_| self.publications.try_recv()).ok()?;
            if !queued.is_recalled()
                && let Queued::Message { message: Message::Publication(publication), .. } = queued
            {
                return Some(publication);
            }
        }
    }

    /// Whether nothing will come any more.
    pub(super) fn is_over(&self) -> bool {
        let over = |way: &mpsc::Receiver<Queued>| way.is_closed() && way.is_empty();
        over(&self.replies) && over(&self.publications)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;
    use crate::mqtt::{Publication, Reply};

    async fn publish(sender: &Sender, size: usize) {
        let publication = Publication {
            topic: "vehicle/1/events/x".into(),
            payload: Bytes::from(vec![b' '; size]),
            retain: false,
            expiry: None,
        };
        sender.publish(publication, &Recall::default()).await.unwrap();
    }

    fn reply(delivery: u64, size: usize) -> Outgoing {
        Outgoing::Reply(Reply { payload: Bytes::from(vec![b' '; size]), ..Reply::to(delivery) })
    }

    #[tokio::test]
    async fn replies_overtake_streams() {
        let (sender, mut receiver) = queue();
        publish(&sender, 1).await;
        sender.send(reply(7, 1)).await.unwrap();
        let first = receiver.next(true).await;
        assert!(matches!(first, Some(Queued::Message { message: Message::Reply(_), .. })));
        assert!(receiver.next(false).now_or_never().is_none());
        let second = receiver.next(true).await;
        assert!(matches!(second, Some(Queued::Message { message: Message::Publication(_), .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_broker_has_not_taken_is_limited_in_bytes() {
        let (sender, mut receiver) = queue();
        let large = 20 * 1024 * 1024;
        sender.send(reply(1, large)).await.unwrap();
        let wait = Duration::from_secs(1);
        assert!(timeout(wait, sender.send(reply(2, large))).await.is_err());
        let taken = receiver.next(true).await;
        assert!(timeout(wait, sender.send(reply(2, large))).await.is_err());
        drop(taken);
        sender.send(reply(2, large)).await.unwrap();
        // Streams have room of their own, and one message always finds it.
        publish(&sender, 100 * 1024 * 1024).await;
    }

    #[tokio::test]
    async fn it_is_over_when_everything_was_taken() {
        let (sender, mut receiver) = queue();
        publish(&sender, 1).await;
        drop(sender);
        assert!(!receiver.is_over());
        assert!(receiver.next(false).now_or_never().is_none());
        assert!(receiver.next(true).await.is_some());
        assert!(receiver.is_over());
        assert!(receiver.next(true).await.is_none());
    }
}
