//! Messages that have arrived and that the consumer has not taken yet.
//!
//! Of messages with QoS 1 the broker should send no more than *Receive Maximum*. Those with
//! QoS 0 cannot be held back, so they are limited here.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::message::{Message, Refused};

/// Limits of messages and bytes above which a new message loses its payload: it is answered
/// with an error.
const MAX_SERVED: usize = 4096;
const MAX_SERVED_BYTES: usize = 16 * 1024 * 1024;

/// Limits of messages and bytes above which a new message is dropped without a reply.
const MAX_ANSWERED: usize = 4 * MAX_SERVED;
const MAX_ANSWERED_BYTES: usize = 2 * MAX_SERVED_BYTES;

/// The way to the consumer, with a bounded queue in front of it.
#[derive(Debug)]
pub(crate) struct Inbox<R> {
    /// `None` once no message is handed over any more.
    consumer: Option<mpsc::Sender<Message<R>>>,
    waiting: VecDeque<Waiting<R>>,
    /// Size of all that waits.
    bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Waiting<R> {
    message: Message<R>,
    /// Size of topic and properties, in bytes.
    overhead: usize,
}

impl<R> Waiting<R> {
    fn new(message: Message<R>, topic_size: usize) -> Self {
        let properties = message.user_properties.iter().map(|(_, value)| value.len());
        let overhead = topic_size
            + message.response_topic.as_ref().map_or(0, String::len)
            + message.correlation_data.as_ref().map_or(0, Bytes::len)
            + properties.sum::<usize>();
        Self { message, overhead }
    }

    fn size(&self) -> usize {
        self.overhead + self.message.payload.as_ref().map_or(0, Bytes::len)
    }
}

impl<R> Inbox<R> {
    /// Messages are handed to `consumer`.
    pub(crate) fn new(consumer: mpsc::Sender<Message<R>>) -> Self {
        Self { consumer: Some(consumer), waiting: VecDeque::new(), bytes: 0, dropped: 0 }
    }

    /// Adds a message of QoS 1, whose number is limited by the broker. It loses its payload if
    /// `max_bytes` are waiting already. `topic_size` is that of its topic.
    pub(crate) fn push(&mut self, message: Message<R>, topic_size: usize, max_bytes: usize) {
        self.add(Waiting::new(message, topic_size), max_bytes);
    }

    /// Adds a message of QoS 0, as far as the limits allow.
    ///
    /// # Errors
    /// It was dropped; returns how many were dropped so far.
    pub(crate) fn push_within_limits(
        &mut self,
        message: Message<R>,
        topic_size: usize,
    ) -> Result<(), u64> {
        let mut new = Waiting::new(message, topic_size);
        if self.waiting.len() >= MAX_ANSWERED || self.bytes + new.overhead > MAX_ANSWERED_BYTES {
            self.dropped += 1;
            return Err(self.dropped);
        }
        if self.waiting.len() >= MAX_SERVED || self.bytes + new.size() > MAX_SERVED_BYTES {
            new.message.payload = Err(Refused::TooMany);
        }
        self.add(new, usize::MAX);
        Ok(())
    }

    fn add(&mut self, mut new: Waiting<R>, max_bytes: usize) {
        if self.bytes >= max_bytes && new.message.payload.is_ok() {
            new.message.payload = Err(Refused::TooMany);
        }
        self.bytes += new.size();
        self.waiting.push_back(new);
    }

    /// Hands waiting messages to the consumer, as many as it takes now. Returns whether there
    /// were any.
    pub(crate) fn hand_over(&mut self) -> bool {
        let mut any = false;
        while !self.waiting.is_empty()
            && let Some(permit) = self.consumer.as_ref().and_then(|it| it.try_reserve().ok())
            && let Some(first) = self.waiting.pop_front()
        {
            self.bytes -= first.size();
            permit.send(first.message);
            any = true;
        }
        any
    }

    /// Whether messages wait for the consumer.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Waits until the consumer takes one more message; `None` if it takes none any more.
    /// Cancel safe.
    pub(crate) async fn ready(&self) -> Option<()> {
        self.consumer.as_ref()?.reserve().await.ok().map(drop)
    }

    /// Hands no more messages over, and forgets those that wait: the broker keeps those of QoS
    /// 1.
    pub(crate) fn close(&mut self) {
        self.consumer = None;
        self.waiting.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// An inbox whose consumer takes nothing.
    fn inbox() -> Inbox<()> {
        Inbox::new(mpsc::channel(1).0)
    }

    /// Everything that waits, in order.
    fn drain(inbox: &mut Inbox<()>) -> impl Iterator<Item = Message<()>> {
        let drained: Vec<_> = inbox.waiting.drain(..).collect();
        drained.into_iter().map(|waiting| {
            inbox.bytes -= waiting.size();
            waiting.message
        })
    }

    fn message(size: usize) -> Message<()> {
        Message {
            delivery: 0,
            route: (),
            retained: false,
            payload: Ok(Bytes::from(vec![0; size])),
            response_topic: None,
            correlation_data: None,
            expires_in: None,
            user_properties: Vec::new(),
        }
    }

    #[test]
    fn a_flood_is_answered_with_errors_and_then_dropped() {
        let mut inbox = inbox();
        let mut dropped = 0;
        for _ in 0..MAX_ANSWERED + 10 {
            dropped = inbox.push_within_limits(message(1), 0).err().unwrap_or(dropped);
        }
        assert_eq!(dropped, 10);
        let messages: Vec<_> = drain(&mut inbox).collect();
        let refused = messages.iter().filter(|one| one.payload == Err(Refused::TooMany)).count();
        assert_eq!((messages.len(), refused), (MAX_ANSWERED, MAX_ANSWERED - MAX_SERVED));
        assert_eq!(inbox.bytes, 0);
    }

    #[test]
    fn topic_and_properties_count_too() {
        let mut inbox = inbox();
        let correlated = || Message {
            correlation_data: Some(Bytes::from(vec![0; 65_535])),
            response_topic: Some("t".repeat(60_000)),
            ..message(0)
        };
        let kept = (0..1000).filter(|_| inbox.push_within_limits(correlated(), 0).is_ok()).count();
        assert!((200..300).contains(&kept), "{kept}");
        let mut inbox = self::inbox();
        let long = 2 * 65_535;
        let kept = (0..1000).filter(|_| inbox.push_within_limits(message(0), long).is_ok()).count();
        assert!((200..300).contains(&kept), "{kept}");
    }

    #[test]
    fn large_payloads_are_limited_by_their_bytes() {
        let mut inbox = inbox();
        for _ in 0..20 {
            assert_eq!(inbox.push_within_limits(message(1024 * 1024), 0), Ok(()));
        }
        let served = drain(&mut inbox).filter(|one| one.payload.is_ok());
        assert_eq!(served.count(), 16);
    }

    #[test]
    fn messages_with_qos_1_lose_their_payload_beyond_their_limit() {
        let mut inbox = inbox();
        (0..3).for_each(|_| inbox.push(message(10), 0, 20));
        let payloads: Vec<_> = drain(&mut inbox).map(|it| it.payload).collect();
        let is_kept: Vec<_> = payloads.iter().map(Result::is_ok).collect();
        assert_eq!(is_kept, [true, true, false]);
    }

    #[test]
    fn the_consumer_gets_as_many_as_it_takes_and_none_after_the_end() {
        let (consumer, mut receiver) = mpsc::channel(2);
        let mut inbox = Inbox::new(consumer);
        (0..4).for_each(|_| inbox.push(message(1), 0, 100));
        assert!(inbox.hand_over() && !inbox.hand_over());
        assert_eq!((receiver.len(), inbox.waiting.len()), (2, 2));
        receiver.try_recv().unwrap();
        assert!(inbox.hand_over());
        assert_eq!((receiver.len(), inbox.bytes), (2, 1));
        inbox.close();
        assert!(!inbox.is_waiting() && !inbox.hand_over());
    }
}
