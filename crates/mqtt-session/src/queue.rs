//! The queue of messages for the session; its limits are in [`lane`](crate::lane).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::lane::{Lane, MAX_QUEUED, MAX_WRITERS};
use crate::publication::{Outbound, Outgoing, Publication};
use crate::recall::Recall;

/// Below this, [`Sender::max_payload`] is not lowered, in bytes.
const SMALLEST_PAYLOAD: usize = 512;

/// The MQTT session has ended and publishes nothing any more.
#[derive(Debug, thiserror::Error)]
#[error("the MQTT session has ended")]
pub struct SessionEnded;

/// Hands messages to the MQTT session. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    replies: LaneSender,
    streams: LaneSender,
    /// An atomic, because the session sets it and all senders read it.
    max_payload: Arc<AtomicUsize>,
}

/// The sending end of one lane.
#[derive(Debug, Clone)]
struct LaneSender {
    messages: mpsc::Sender<Queued>,
    writers: Arc<Semaphore>,
    /// In KiB.
    room: Arc<Semaphore>,
    max_kib: u32,
}

/// A permit to serialise one message and to publish it.
#[derive(Debug)]
pub struct Writer {
    lane: LaneSender,
    _permit: OwnedSemaphorePermit,
}

/// Receives the messages of all [`Sender`]s.
#[derive(Debug)]
pub struct Receiver {
    replies: mpsc::Receiver<Queued>,
    streams: mpsc::Receiver<Queued>,
    max_payload: Arc<AtomicUsize>,
}

/// An item of the queue. A message holds its room until the broker has acknowledged it.
#[derive(Debug)]
pub(crate) enum Queued {
    /// A message to be published.
    Message { message: Outbound, room: OwnedSemaphorePermit, recall: Option<Recall> },
    /// A delivery without a reply.
    Done { delivery: u64 },
    /// A message that the broker retains already.
    Retained { record: Publication, recall: Recall, _room: OwnedSemaphorePermit },
}

impl Queued {
    /// Whether it is withdrawn.
    pub(crate) fn is_recalled(&self) -> bool {
        match self {
            Self::Message { recall, .. } => recall.as_ref().is_some_and(Recall::is_recalled),
            Self::Retained { recall, .. } => recall.is_recalled(),
            Self::Done { .. } => false,
        }
    }
}

/// Makes both ends of a queue.
#[must_use]
pub fn queue() -> (Sender, Receiver) {
    let (replies, reply_receiver) = LaneSender::new(Lane::Replies);
    let (streams, stream_receiver) = LaneSender::new(Lane::Streams);
    let max_payload = Arc::new(AtomicUsize::new(usize::MAX));
    let receiver = Receiver {
        replies: reply_receiver,
        streams: stream_receiver,
        max_payload: Arc::clone(&max_payload),
    };
    (Sender { replies, streams, max_payload }, receiver)
}

impl Sender {
    /// Ends a delivery. Waits until there is room.
    ///
    /// # Errors
    /// See [`SessionEnded`].
    pub async fn send(&self, outgoing: Outgoing) -> Result<(), SessionEnded> {
        match outgoing {
            Outgoing::Reply(reply) => self.replies.send(Outbound::Reply(reply), None).await,
            Outgoing::Done { delivery } => self.replies.put(Queued::Done { delivery }).await,
        }
    }

    /// The largest payload that the broker is likely to accept, in bytes. It may change with each
    /// connection.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed)
    }

    /// Waits until one more message may be serialised.
    ///
    /// # Errors
    /// See [`SessionEnded`].
    pub async fn writer(&self, lane: Lane) -> Result<Writer, SessionEnded> {
        let lane = match lane {
            Lane::Replies => self.replies.clone(),
            Lane::Streams => self.streams.clone(),
        };
        let permit = Arc::clone(&lane.writers).acquire_owned().await;
        Ok(Writer { _permit: permit.map_err(|_| SessionEnded)?, lane })
    }
}

impl Writer {
    /// Publishes a message, unless it is recalled in time. Waits until there is room.
    ///
    /// # Errors
    /// See [`SessionEnded`].
    pub async fn publish(
        self,
        publication: Publication,
        recall: &Recall,
    ) -> Result<(), SessionEnded> {
        self.lane.send(Outbound::Publication(publication), Some(recall.clone())).await
    }

    /// Tells the session what the broker has retained since an earlier process. The session
    /// publishes it only if the broker loses its session. Waits until there is room.
    ///
    /// # Errors
    /// See [`SessionEnded`].
    pub async fn note_retained(
        self,
        record: Publication,
        recall: &Recall,
    ) -> Result<(), SessionEnded> {
        let _room = self.lane.room(record.payload.len()).await?;
        self.lane.put(Queued::Retained { record, recall: recall.clone(), _room }).await
    }
}

impl LaneSender {
    fn new(lane: Lane) -> (Self, mpsc::Receiver<Queued>) {
        let (messages, receiver) = mpsc::channel(MAX_QUEUED);
        let max_kib = lane.max_kib();
        let writers = Arc::new(Semaphore::new(MAX_WRITERS));
        let room = Arc::new(Semaphore::new(max_kib as usize));
        (Self { messages, writers, room, max_kib }, receiver)
    }

    async fn send(&self, message: Outbound, recall: Option<Recall>) -> Result<(), SessionEnded> {
        let room = self.room(message.size()).await?;
        self.put(Queued::Message { message, room, recall }).await
    }

    /// Waits for room for `size` bytes.
    async fn room(&self, size: usize) -> Result<OwnedSemaphorePermit, SessionEnded> {
        let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX);
        // A message that is larger than the lane is admitted when the lane is empty.
        let room = Arc::clone(&self.room).acquire_many_owned(kib.min(self.max_kib));
        room.await.map_err(|_| SessionEnded)
    }

    async fn put(&self, queued: Queued) -> Result<(), SessionEnded> {
        self.messages.send(queued).await.map_err(|_| SessionEnded)
    }
}

impl Receiver {
    /// Waits for the next message that may be taken while the outbox has `unsent` messages,
    /// replies first. `None` once all [`Sender`]s are gone and everything was taken. Cancel
    /// safe.
    pub(crate) async fn next(&mut self, unsent: usize) -> Option<Queued> {
        tokio::select! {
            biased;
            Some(reply) = self.replies.recv(), if Lane::Replies.admits(unsent) => Some(reply),
            Some(message) = self.streams.recv(), if Lane::Streams.admits(unsent) => Some(message),
            else => {
                if !self.is_over() {
                    std::future::pending::<()>().await;
                }
                None
            }
        }
    }

    /// Sets what [`Sender::max_payload`] returns.
    pub(crate) fn set_max_payload(&self, max: usize) {
        self.max_payload.store(max, Ordering::Relaxed);
    }

    /// The broker has refused a message as too large: a payload of at most `max` may be accepted.
    pub(crate) fn lower_max_payload(&self, max: usize) {
        self.max_payload.fetch_min(max.max(SMALLEST_PAYLOAD), Ordering::Relaxed);
    }

    /// The next message that is in the queue, is no reply and was not recalled.
    #[cfg(any(test, feature = "testing"))]
    pub fn publication(&mut self) -> Option<Publication> {
        loop {
            let replies = self.replies.try_recv();
            let queued = replies.or_else(|_| self.streams.try_recv()).ok()?;
            if !queued.is_recalled()
                && let Queued::Message { message: Outbound::Publication(publication), .. } = queued
            {
                return Some(publication);
            }
        }
    }

    /// Whether all [`Sender`]s are gone and everything was taken.
    pub(crate) fn is_over(&self) -> bool {
        let is_over = |lane: &mpsc::Receiver<Queued>| lane.is_closed() && lane.is_empty();
        is_over(&self.replies) && is_over(&self.streams)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    #[test]
    fn the_largest_payload_is_that_of_the_connection_and_of_refusals() {
        let (sender, receiver) = queue();
        assert_eq!(sender.max_payload(), usize::MAX);
        receiver.set_max_payload(5000);
        assert_eq!(sender.clone().max_payload(), 5000);
        receiver.lower_max_payload(9000);
        assert_eq!(sender.max_payload(), 5000);
        for (refused, expected) in [(2000, 2000), (100, SMALLEST_PAYLOAD)] {
            receiver.lower_max_payload(refused);
            assert_eq!(sender.max_payload(), expected);
        }
    }

    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;
    use crate::publication::Reply;

    /// With no unsent message, everything is admitted.
    const NONE_UNSENT: usize = 0;

    /// With this many unsent messages, only replies are admitted.
    const SOME_UNSENT: usize = 8;

    /// With this many unsent messages, nothing is admitted.
    const MANY_UNSENT: usize = 64;

    fn publication(size: usize) -> Publication {
        Publication {
            topic: "vehicle/1/events/x".into(),
            payload: Bytes::from(vec![b' '; size]),
            retain: false,
            expiry: None,
        }
    }

    async fn publish(sender: &Sender, lane: Lane, size: usize) {
        let writer = sender.writer(lane).await.unwrap();
        writer.publish(publication(size), &Recall::default()).await.unwrap();
    }

    fn reply(delivery: u64, size: usize) -> Outgoing {
        Outgoing::Reply(Reply { payload: Bytes::from(vec![b' '; size]), ..Reply::to(delivery) })
    }

    #[tokio::test]
    async fn replies_overtake_streams() {
        let (sender, mut receiver) = queue();
        publish(&sender, Lane::Streams, 1).await;
        sender.send(reply(7, 1)).await.unwrap();
        assert!(receiver.next(MANY_UNSENT).now_or_never().is_none());
        let first = receiver.next(NONE_UNSENT).await;
        assert!(matches!(first, Some(Queued::Message { message: Outbound::Reply(_), .. })));
        assert!(receiver.next(SOME_UNSENT).now_or_never().is_none());
        let second = receiver.next(NONE_UNSENT).await;
        assert!(matches!(second, Some(Queued::Message { message: Outbound::Publication(_), .. })));
    }

    #[tokio::test]
    async fn what_a_reply_promises_keeps_its_order_with_the_replies() {
        let (sender, mut receiver) = queue();
        publish(&sender, Lane::Replies, 1).await;
        sender.send(reply(7, 1)).await.unwrap();
        let first = receiver.next(SOME_UNSENT).await;
        assert!(matches!(first, Some(Queued::Message { message: Outbound::Publication(_), .. })));
        let second = receiver.next(SOME_UNSENT).await;
        assert!(matches!(second, Some(Queued::Message { message: Outbound::Reply(_), .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_the_broker_has_not_taken_are_limited_in_bytes() {
        let (sender, mut receiver) = queue();
        let large = 20 * 1024 * 1024;
        sender.send(reply(1, large)).await.unwrap();
        let wait = Duration::from_secs(1);
        assert!(timeout(wait, sender.send(reply(2, large))).await.is_err());
        let taken = receiver.next(NONE_UNSENT).await;
        assert!(timeout(wait, sender.send(reply(2, large))).await.is_err());
        drop(taken);
        sender.send(reply(2, large)).await.unwrap();
        // Streams have room of their own, and one message always finds it.
        publish(&sender, Lane::Streams, 100 * 1024 * 1024).await;
    }

    #[tokio::test]
    async fn so_many_messages_are_serialised_at_a_time_on_each_lane() {
        let (sender, _receiver) = queue();
        let mut writers = Vec::new();
        for _ in 0..MAX_WRITERS {
            writers.push(sender.writer(Lane::Streams).await.unwrap());
        }
        assert!(sender.writer(Lane::Streams).now_or_never().is_none());
        assert!(sender.writer(Lane::Replies).now_or_never().is_some());
        let writer = writers.pop().unwrap();
        writer.publish(publication(1), &Recall::default()).await.unwrap();
        assert!(sender.writer(Lane::Streams).now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_queue_is_over_when_everything_was_taken() {
        let (sender, mut receiver) = queue();
        publish(&sender, Lane::Streams, 1).await;
        drop(sender);
        assert!(!receiver.is_over());
        assert!(receiver.next(SOME_UNSENT).now_or_never().is_none());
        assert!(receiver.next(NONE_UNSENT).await.is_some());
        assert!(receiver.is_over());
        assert!(receiver.next(NONE_UNSENT).await.is_none());
    }

    #[tokio::test]
    async fn a_writer_can_still_publish_when_the_senders_are_gone() {
        let (sender, mut receiver) = queue();
        let writer = sender.writer(Lane::Streams).await.unwrap();
        drop(sender);
        assert!(receiver.next(SOME_UNSENT).now_or_never().is_none());
        writer.publish(publication(1), &Recall::default()).await.unwrap();
        assert!(receiver.next(NONE_UNSENT).await.is_some());
        assert!(receiver.next(NONE_UNSENT).await.is_none());
    }

    #[tokio::test]
    async fn a_message_can_be_recalled_while_it_is_in_the_queue() {
        let (sender, mut receiver) = queue();
        let recall = Recall::default();
        for lane in [Lane::Replies, Lane::Streams] {
            let writer = sender.writer(lane).await.unwrap();
            writer.publish(publication(1), &recall).await.unwrap();
        }
        publish(&sender, Lane::Streams, 2).await;
        recall.recall();
        assert_eq!(receiver.publication(), Some(publication(2)));
        assert_eq!(receiver.publication(), None);
    }
}
