//! Messages that are published, until the broker has acknowledged them.
//!
//! After a connection was lost, all messages without an acknowledgement are published again
//! in their order, as new packets: for QoS 1 a broker keeps no state of what it has received,
//! and receivers must expect duplicates.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::publication::Outbound;

/// A message that the broker has not acknowledged.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) message: Outbound,
    /// Its room in the queue, which is free again when the entry is dropped.
    _room: Option<OwnedSemaphorePermit>,
    /// Position in the order of publishing. A message that is published again keeps it.
    sequence: u64,
    /// How often the broker has refused it on this topic.
    pub(crate) refusals: u32,
    /// How often its payload was replaced by a smaller one or an error.
    pub(crate) replacements: u32,
    /// When it was sent.
    sent_at: Option<Instant>,
    /// The broker may have ended a connection over it: it is sent alone.
    is_suspect: bool,
    /// A newer retained message of the topic was sent. This one is not published again: it
    /// would replace the newer one.
    is_superseded: bool,
    /// How many acknowledgements were sent before it.
    pub(crate) acknowledgements: u64,
}

/// Messages in the order in which they are published.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Messages that are not sent, by sequence.
    waiting: VecDeque<Entry>,
    /// Messages without an acknowledgement, with their packet identifiers.
    sent: VecDeque<(u16, Entry)>,
    /// Size of the payloads of `sent`, in bytes.
    unacknowledged_bytes: usize,
    /// The last used packet identifier.
    packet_id: u16,
    /// The last used sequence number.
    sequence: u64,
}

impl Outbox {
    /// Adds a message behind all others.
    pub(crate) fn push(&mut self, message: Outbound, room: Option<OwnedSemaphorePermit>) {
        self.sequence += 1;
        self.waiting.push_back(Entry {
            message,
            _room: room,
            sequence: self.sequence,
            refusals: 0,
            replacements: 0,
            sent_at: None,
            is_suspect: false,
            is_superseded: false,
            acknowledgements: 0,
        });
    }

    /// Returns a message that the broker has refused to its position in the order. A
    /// superseded message is dropped, even if the newer one fails: only that one is to be
    /// retained.
    pub(crate) fn push_again(&mut self, entry: Entry) {
        if entry.is_superseded {
            return;
        }
        let position = self.waiting.partition_point(|other| other.sequence < entry.sequence);
        self.waiting.insert(position, entry);
    }

    /// The number of messages that are not sent.
    pub(crate) fn unsent(&self) -> usize {
        self.waiting.len()
    }

    /// The topics of the retained messages that are not sent.
    pub(crate) fn unsent_retained(&self) -> BTreeSet<String> {
        let retained = self.waiting.iter().filter(|entry| entry.message.is_retained());
        retained.map(|entry| entry.message.topic().to_owned()).collect()
    }

    /// Whether there is a status that the broker has not acknowledged.
    pub(crate) fn has_status(&self) -> bool {
        let sent = self.sent.iter().map(|(_, entry)| entry);
        self.waiting.iter().chain(sent).any(Entry::is_status)
    }

    /// Whether the broker has acknowledged all messages except statuses.
    pub(crate) fn has_only_status(&self) -> bool {
        let sent = self.sent.iter().map(|(_, entry)| entry);
        self.waiting.iter().chain(sent).all(Entry::is_status)
    }

    /// Whether the broker has acknowledged all messages.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// The message to be sent next; `None` also if `max` messages wait for their
    /// acknowledgements.
    pub(crate) fn next(&mut self, max: u16) -> Option<&mut Outbound> {
        let last = self.sent.back().map(|(_, entry)| entry);
        let is_alone = last.into_iter().chain(self.waiting.front()).any(|one| one.is_suspect);
        let max = if is_alone { 1 } else { max };
        let first = self.waiting.front_mut().map(|entry| &mut entry.message);
        first.filter(|_| self.sent.len() < usize::from(max))
    }

    /// Drops the message that [`Outbox::next`] has returned.
    pub(crate) fn give_up(&mut self) -> Option<Outbound> {
        self.waiting.pop_front().map(|entry| entry.message)
    }

    /// Records that the message that [`Outbox::next`] has returned is sent, after the given
    /// number of acknowledgements. Returns its packet identifier.
    pub(crate) fn send(&mut self, acknowledgements: u64) -> u16 {
        self.next_packet_id();
        if let Some(mut entry) = self.waiting.pop_front() {
            entry.acknowledgements = acknowledgements;
            entry.sent_at = Some(Instant::now());
            for (_, older) in &mut self.sent {
                older.is_superseded |= entry.message.supersedes(&older.message);
            }
            self.unacknowledged_bytes += entry.message.size();
            self.sent.push_back((self.packet_id, entry));
        }
        self.packet_id
    }

    /// A packet identifier that is not in use.
    pub(crate) fn next_packet_id(&mut self) -> u16 {
        loop {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            // There is a free one: at most `MAX_UNACKNOWLEDGED` are in use.
            if self.sent.iter().all(|(id, _)| *id != self.packet_id) {
                return self.packet_id;
            }
        }
    }

    /// Removes a message that the broker has acknowledged, accepted or refused.
    pub(crate) fn acknowledged(&mut self, packet_id: u16) -> Option<Entry> {
        let position = self.sent.iter().position(|(id, _)| *id == packet_id)?;
        let (_, mut entry) = self.sent.remove(position)?;
        self.unacknowledged_bytes -= entry.message.size();
        entry.is_suspect = false;
        Some(entry)
    }

    /// Size of the payloads that were sent and not acknowledged, in bytes.
    pub(crate) fn unacknowledged_bytes(&self) -> usize {
        self.unacknowledged_bytes
    }

    /// Whether messages were sent and not acknowledged.
    pub(crate) fn has_unacknowledged(&self) -> bool {
        !self.sent.is_empty()
    }

    /// The broker has ended the connection because it objects to a packet. Returns the message
    /// if only one was unacknowledged; otherwise they are sent one by one next time.
    pub(crate) fn suspect(&mut self) -> Option<&mut Entry> {
        for (_, entry) in &mut self.sent {
            entry.is_suspect = true;
        }
        match self.sent.make_contiguous() {
            [(_, entry)] => Some(entry),
            _ => None,
        }
    }

    /// Drops the only message without an acknowledgement.
    pub(crate) fn give_up_suspect(&mut self) -> Option<Outbound> {
        self.sent.pop_front().map(|(_, entry)| entry.message)
    }

    /// The connection was lost: messages without an acknowledgement wait again, unless they are
    /// superseded. A status is dropped: it would be out of date.
    pub(crate) fn disconnected(&mut self) {
        self.unacknowledged_bytes = 0;
        self.waiting.extend(self.sent.drain(..).map(|(_, entry)| entry));
        self.waiting.retain(|entry| !entry.is_superseded && !entry.is_status());
        self.waiting.make_contiguous().sort_by_key(|entry| entry.sequence);
    }
}

impl Entry {
    /// Whether it is the status of the application.
    pub(crate) fn is_status(&self) -> bool {
        matches!(self.message, Outbound::Status { .. })
    }

    /// Position in the order of publishing.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How long ago it was sent.
    pub(crate) fn age(&self) -> Duration {
        self.sent_at.map_or(Duration::MAX, |sent| sent.elapsed())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::publication::{Publication, Reply};

    fn reply(delivery: u64) -> Outbound {
        Outbound::Reply(Reply::to(delivery))
    }

    fn publication(topic: &str, payload: &'static str, retain: bool) -> Outbound {
        let (topic, payload) = (topic.to_owned(), Bytes::from_static(payload.as_bytes()));
        Outbound::Publication(Publication { topic, payload, retain, expiry: None })
    }

    fn record(payload: &'static str) -> Outbound {
        publication("vehicle/1/events/x/subscription", payload, true)
    }

    fn status(payload: &'static str) -> Outbound {
        let payload = Bytes::from_static(payload.as_bytes());
        Outbound::Status { topic: "vehicle/1/connector/status".into(), payload }
    }

    fn send(outbox: &mut Outbox) -> Option<(u16, Outbound)> {
        let message = outbox.next(2)?.clone();
        Some((outbox.send(0), message))
    }

    /// Sends what may be sent; returns the packet identifiers and the deliveries.
    fn send_all(outbox: &mut Outbox, max: u16) -> Vec<(u16, u64)> {
        let next = || {
            let Outbound::Reply(Reply { delivery, .. }) = *outbox.next(max)? else { return None };
            Some((outbox.send(0), delivery))
        };
        std::iter::from_fn(next).collect()
    }

    fn refuse(outbox: &mut Outbox, packet_id: u16) {
        let entry = outbox.acknowledged(packet_id).unwrap();
        outbox.push_again(entry);
    }

    #[test]
    fn messages_are_sent_in_order_up_to_the_maximum() {
        let mut outbox = Outbox::default();
        (1..=3).for_each(|delivery| outbox.push(reply(delivery), None));
        assert_eq!(send(&mut outbox), Some((1, reply(1))));
        assert_eq!(send(&mut outbox), Some((2, reply(2))));
        assert_eq!(send(&mut outbox), None);
        assert_eq!(outbox.unacknowledged_bytes(), 4);
        assert!(outbox.acknowledged(3).is_none());
        assert_eq!(outbox.acknowledged(1).unwrap().message, reply(1));
        assert_eq!(outbox.unacknowledged_bytes(), 2);
        assert_eq!(send(&mut outbox), Some((3, reply(3))));
    }

    #[test]
    fn messages_that_are_published_again_keep_their_order() {
        let mut outbox = Outbox { packet_id: u16::MAX - 1, ..Outbox::default() };
        (1..=5).for_each(|delivery| outbox.push(reply(delivery), None));
        assert_eq!(send_all(&mut outbox, 3), [(u16::MAX, 1), (1, 2), (2, 3)]);
        [2, u16::MAX, 1].into_iter().for_each(|id| refuse(&mut outbox, id));
        // Some are refused again while others still wait from the first time.
        assert_eq!(send_all(&mut outbox, 2), [(3, 1), (4, 2)]);
        [3, 4].into_iter().for_each(|id| refuse(&mut outbox, id));
        assert_eq!(send_all(&mut outbox, 9), [(5, 1), (6, 2), (7, 3), (8, 4), (9, 5)]);
    }

    #[test]
    fn a_lost_connection_keeps_the_order_of_refused_messages() {
        let mut outbox = Outbox::default();
        (1..=4).for_each(|delivery| outbox.push(reply(delivery), None));
        assert_eq!(send_all(&mut outbox, 4), [(1, 1), (2, 2), (3, 3), (4, 4)]);
        [1, 3].into_iter().for_each(|id| refuse(&mut outbox, id));
        assert_eq!(send_all(&mut outbox, 3), [(5, 1)]);
        outbox.disconnected();
        assert_eq!(send_all(&mut outbox, 4), [(6, 1), (7, 2), (8, 3), (9, 4)]);
    }

    #[test]
    fn suspects_are_sent_one_by_one_also_after_refused_messages() {
        let mut outbox = Outbox::default();
        (1..=4).for_each(|delivery| outbox.push(reply(delivery), None));
        assert_eq!(send_all(&mut outbox, 3), [(1, 1), (2, 2), (3, 3)]);
        refuse(&mut outbox, 1);
        assert!(outbox.suspect().is_none());
        outbox.disconnected();
        for (id, delivery) in [(4, 1), (5, 2), (6, 3)] {
            assert_eq!(send_all(&mut outbox, 3), [(id, delivery)]);
            outbox.acknowledged(id).unwrap();
        }
        outbox.push(reply(5), None);
        assert_eq!(send_all(&mut outbox, 3), [(7, 4), (8, 5)]);
    }

    #[test]
    fn packet_identifiers_in_use_are_skipped() {
        let mut outbox = Outbox::default();
        outbox.push(reply(1), None);
        let held = send(&mut outbox).unwrap();
        for _ in 0..2 * u32::from(u16::MAX) {
            outbox.push(reply(2), None);
            let (id, _) = send(&mut outbox).unwrap();
            assert!(id != 0 && id != held.0);
            outbox.acknowledged(id).unwrap();
        }
    }

    #[test]
    fn a_lost_connection_loses_nothing_and_keeps_the_order() {
        let mut outbox = Outbox::default();
        (1..=4).for_each(|delivery| outbox.push(reply(delivery), None));
        outbox.push(status("1"), None);
        send(&mut outbox);
        send(&mut outbox);
        outbox.disconnected();
        assert_eq!((outbox.unsent(), outbox.unacknowledged_bytes()), (4, 0));
        for delivery in 1..=4 {
            let (id, message) = send(&mut outbox).unwrap();
            assert_eq!(message, reply(delivery));
            outbox.acknowledged(id);
        }
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_retained_message_does_not_replace_a_newer_one() {
        for (older, newer) in [(record("{}"), record("")), (status("1"), status("2"))] {
            // Whichever the broker acknowledges first, and whether it accepts the newer one.
            for (taken, refused) in [(Some(2), &[1][..]), (None, &[1, 2]), (None, &[2, 1])] {
                let mut outbox = Outbox::default();
                outbox.push(older.clone(), None);
                outbox.push(newer.clone(), None);
                assert_eq!(send(&mut outbox), Some((1, older.clone())));
                assert_eq!(send(&mut outbox), Some((2, newer.clone())));
                assert!(taken.is_none_or(|id| outbox.acknowledged(id).is_some()));
                refused.iter().for_each(|id| refuse(&mut outbox, *id));
                let again = refused.contains(&2).then(|| (3, newer.clone()));
                assert_eq!(send(&mut outbox), again);
                assert_eq!(outbox.unsent(), 0);
            }
        }
    }

    #[test]
    fn a_lost_connection_does_not_bring_back_superseded_messages() {
        let mut outbox = Outbox::default();
        outbox.push(record("{}"), None);
        outbox.push(record(""), None);
        assert!(send(&mut outbox).is_some() && send(&mut outbox).is_some());
        outbox.acknowledged(2).unwrap();
        outbox.disconnected();
        assert!(outbox.is_empty());
    }

    #[test]
    fn only_retained_messages_of_the_same_topic_are_superseded() {
        for (older, newer) in [
            (record("{}"), publication("vehicle/1/events/y/subscription", "", true)),
            (record("{}"), publication("vehicle/1/events/x/subscription", "", false)),
            (
                publication("vehicle/1/events/x", "", false),
                publication("vehicle/1/events/x", "", false),
            ),
        ] {
            let mut outbox = Outbox::default();
            outbox.push(older.clone(), None);
            outbox.push(newer, None);
            assert!(send(&mut outbox).is_some() && send(&mut outbox).is_some());
            refuse(&mut outbox, 1);
            assert_eq!(send(&mut outbox), Some((3, older)));
        }
    }

    #[test]
    fn a_refused_message_is_sent_again_before_a_newer_one_that_waits() {
        let mut outbox = Outbox::default();
        outbox.push(record("1"), None);
        assert_eq!(send(&mut outbox), Some((1, record("1"))));
        outbox.push(record("2"), None);
        refuse(&mut outbox, 1);
        assert_eq!(send(&mut outbox), Some((2, record("1"))));
        assert_eq!(send(&mut outbox), Some((3, record("2"))));
        refuse(&mut outbox, 2);
        assert_eq!(send(&mut outbox), None);
    }
}
