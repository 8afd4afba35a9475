//! What is to be published, until the broker has taken it.
//!
//! After a connection was lost, everything that was not acknowledged is
//! published again in its order, as new packets: for QoS 1 a broker keeps no
//! state of what it has received, and the receiver must expect duplicates.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use tokio::sync::OwnedSemaphorePermit;

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

/// What is handed to the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// The reply to a request.
    Reply(Reply),
    /// A message of a stream.
    Publication(Publication),
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

    pub(super) fn publish(&self) -> Publish {
        let mut properties = PublishProperties {
            payload_format_indicator: Some(1),
            content_type: Some("application/json".into()),
            ..PublishProperties::default()
        };
        let (payload, retain) = match self {
            Self::Reply(reply) => {
                properties.correlation_data = reply.correlation_data.clone();
                properties.user_properties = vec![(REQUEST_ID.into(), reply.request_id.clone())];
                (&reply.payload, false)
            }
            Self::Publication(publication) => {
                properties.message_expiry_interval = publication.expiry.map(seconds);
                (&publication.payload, publication.retain)
            }
            Self::Status { payload, .. } => (payload, true),
        };
        let mut publish =
            Publish::new(self.topic(), QoS::AtLeastOnce, payload.clone(), Some(properties));
        publish.retain = retain;
        publish
    }
}

/// A message and its place, which it keeps until the broker has taken it.
pub(super) type Placed = (Message, Option<OwnedSemaphorePermit>);

/// Messages in the order in which they are published.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Placed>,
    /// Put into the connection, with their packet identifiers.
    sent: VecDeque<(u16, Placed)>,
    /// Bytes of the payloads of what was sent.
    under_way: usize,
    /// The packet identifier that was used last.
    packet_id: u16,
    /// Those of the messages at the front of `waiting` that are published again.
    again: VecDeque<u16>,
    /// So many of the messages at the front are sent one by one.
    suspects: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, placed: Placed) {
        self.waiting.push_back(placed);
    }

    /// Publishes a message before all others.
    pub(super) fn push_front(&mut self, placed: Placed) {
        self.waiting.push_front(placed);
    }

    /// Publishes a message again that the broker has not taken, before all that were
    /// sent after it or not yet.
    pub(super) fn push_again(&mut self, packet_id: u16, placed: Placed) {
        let position = self.again.partition_point(|id| is_before(*id, packet_id));
        self.again.insert(position, packet_id);
        self.waiting.insert(position.min(self.waiting.len()), placed);
    }

    /// Messages that have not been sent.
    pub(super) fn unsent(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the status is being published.
    pub(super) fn has_status(&self) -> bool {
        let sent = self.sent.iter().map(|(_, placed)| placed);
        self.waiting.iter().chain(sent).any(|(message, _)| is_status(message))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// The message that is sent next, if fewer than `max` have no
    /// acknowledgement.
    pub(super) fn next(&mut self, max: u16) -> Option<&mut Message> {
        let max = if self.suspects > 0 { 1 } else { max };
        let first = self.waiting.front_mut().map(|(message, _)| message);
        first.filter(|_| self.sent.len() < usize::from(max))
    }

    /// What [`Outbox::next`] has returned is not sent.
    pub(super) fn give_up(&mut self) -> Option<Message> {
        self.again.pop_front();
        self.waiting.pop_front().map(|(message, _)| message)
    }

    /// What [`Outbox::next`] has returned is sent under the packet identifier
    /// that this returns.
    pub(super) fn send(&mut self) -> u16 {
        loop {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            // Far fewer messages are sent than there are identifiers.
            if self.sent.iter().all(|(id, _)| *id != self.packet_id) {
                break;
            }
        }
        self.again.pop_front();
        if let Some(placed) = self.waiting.pop_front() {
            self.under_way += placed.0.size();
            self.sent.push_back((self.packet_id, placed));
        }
        self.packet_id
    }

    /// The broker has acknowledged a message.
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<Placed> {
        let position = self.sent.iter().position(|(id, _)| *id == packet_id)?;
        let (_, placed) = self.sent.remove(position)?;
        self.under_way -= placed.0.size();
        self.suspects = self.suspects.saturating_sub(1);
        Some(placed)
    }

    /// Bytes that were sent and that the broker has not acknowledged.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// The broker ends the connection over something that was sent. Returns the
    /// message if there is only one; otherwise they are sent one by one next time.
    pub(super) fn suspect(&mut self) -> Option<&mut Message> {
        let sent = self.sent.iter().filter(|(_, (message, _))| !is_status(message)).count();
        self.suspects = self.suspects.max(sent);
        match self.sent.make_contiguous() {
            [(_, (message, _))] if !is_status(message) => Some(message),
            _ => None,
        }
    }

    /// The only one that was sent is given up.
    pub(super) fn give_up_suspect(&mut self) -> Option<Message> {
        self.suspects = self.suspects.saturating_sub(1);
        self.sent.pop_front().map(|(_, (message, _))| message)
    }

    /// The connection was lost: what was not acknowledged waits again. A status
    /// is out of date by then.
    pub(super) fn disconnected(&mut self) {
        self.under_way = 0;
        self.again.clear();
        let sent = std::mem::take(&mut self.sent).into_iter().map(|(_, placed)| placed);
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = sent.chain(waiting).filter(|(message, _)| !is_status(message)).collect();
    }
}

fn is_status(message: &Message) -> bool {
    matches!(message, Message::Status { .. })
}

/// Whether a packet identifier was given out before another; they begin anew
/// after the last one.
fn is_before(one: u16, other: u16) -> bool {
    (other.wrapping_sub(one) as i16) > 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reply(delivery: u64) -> Message {
        Message::Reply(Reply {
            delivery,
            topic: "vehicle/1/state/resp".into(),
            fallback_topic: None,
            correlation_data: None,
            request_id: "r".into(),
            payload: Bytes::from_static(b"{}"),
        })
    }

    fn send(outbox: &mut Outbox) -> Option<(u16, Message)> {
        let message = outbox.next(2)?.clone();
        Some((outbox.send(), message))
    }

    #[test]
    fn messages_are_sent_in_order_up_to_the_maximum() {
        let mut outbox = Outbox::default();
        (1..=3).for_each(|delivery| outbox.push((reply(delivery), None)));
        assert_eq!(send(&mut outbox), Some((1, reply(1))));
        assert_eq!(send(&mut outbox), Some((2, reply(2))));
        assert_eq!(send(&mut outbox), None);
        assert_eq!(outbox.under_way(), 4);
        assert!(outbox.acknowledged(3).is_none());
        assert_eq!(outbox.acknowledged(1).unwrap().0, reply(1));
        assert_eq!(outbox.under_way(), 2);
        assert_eq!(send(&mut outbox), Some((3, reply(3))));
    }

    #[test]
    fn what_is_published_again_keeps_its_order() {
        let mut outbox = Outbox { packet_id: u16::MAX - 1, ..Outbox::default() };
        (1..=5).for_each(|delivery| outbox.push((reply(delivery), None)));
        let ids: Vec<_> = (0..3).map(|_| outbox.next(9).is_some().then(|| outbox.send())).collect();
        assert_eq!(ids, [Some(u16::MAX), Some(1), Some(2)]);
        for id in [2, u16::MAX, 1] {
            let placed = outbox.acknowledged(id).unwrap();
            outbox.push_again(id, placed);
        }
        for delivery in 1..=5 {
            let message = outbox.next(9).unwrap().clone();
            assert_eq!(message, reply(delivery));
            outbox.send();
        }
    }

    #[test]
    fn identifiers_in_use_are_passed_over() {
        let mut outbox = Outbox::default();
        outbox.push((reply(1), None));
        let held = send(&mut outbox).unwrap();
        for _ in 0..2 * u32::from(u16::MAX) {
            outbox.push((reply(2), None));
            let (id, _) = send(&mut outbox).unwrap();
            assert!(id != 0 && id != held.0);
            outbox.acknowledged(id).unwrap();
        }
    }

    #[test]
    fn a_lost_connection_loses_nothing_and_keeps_the_order() {
        let mut outbox = Outbox::default();
        (1..=4).for_each(|delivery| outbox.push((reply(delivery), None)));
        outbox.push((Message::Status { topic: String::new(), payload: Bytes::new() }, None));
        send(&mut outbox);
        send(&mut outbox);
        outbox.disconnected();
        assert_eq!((outbox.unsent(), outbox.under_way()), (4, 0));
        for delivery in 1..=4 {
            let (id, message) = send(&mut outbox).unwrap();
            assert_eq!(message, reply(delivery));
            outbox.acknowledged(id);
        }
        assert!(outbox.is_empty());
    }
}
