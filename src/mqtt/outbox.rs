//! What is to be published, until the broker has taken it.
//!
//! After a connection was lost, everything that was not acknowledged is
//! published again in its order, as new packets: for QoS 1 a broker keeps no
//! state of what it has received, and the receiver must expect duplicates.

use std::collections::{BTreeSet, VecDeque};

use tokio::sync::OwnedSemaphorePermit;

use super::message::Message;

/// A message that the broker has not taken.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Message,
    /// Is free again once the broker has taken the message.
    _place: Option<OwnedSemaphorePermit>,
    /// Counts the messages in the order in which they are to be published. A message
    /// keeps it when it is published again.
    number: u64,
    /// How often the broker has not taken it on this topic.
    pub(super) refusals: u32,
    /// The broker may have ended a connection over it; it is sent alone.
    is_suspect: bool,
    /// A newer message was sent that the broker keeps in its place. Published again, it
    /// would take that place back.
    is_superseded: bool,
    /// How many acknowledgements were sent before it.
    pub(super) acknowledgements: u64,
}

/// Messages in the order in which they are published.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// By number.
    waiting: VecDeque<Entry>,
    /// Put into the connection, with their packet identifiers.
    sent: VecDeque<(u16, Entry)>,
    /// Bytes of the payloads of what was sent.
    under_way: usize,
    /// The packet identifier that was used last.
    packet_id: u16,
    /// The number of the last message.
    number: u64,
}

impl Outbox {
    /// Publishes a message after all others.
    pub(super) fn push(&mut self, message: Message, place: Option<OwnedSemaphorePermit>) {
        self.number += 1;
        self.waiting.push_back(Entry {
            message,
            _place: place,
            number: self.number,
            refusals: 0,
            is_suspect: false,
            is_superseded: false,
            acknowledgements: 0,
        });
    }

    /// Publishes a message again that the broker has not taken, before all that come
    /// after it. One that is superseded is given up, whatever becomes of the newer one:
    /// that alone is what the broker is to keep.
    pub(super) fn push_again(&mut self, entry: Entry) {
        if entry.is_superseded {
            return;
        }
        let position = self.waiting.partition_point(|other| other.number < entry.number);
        self.waiting.insert(position, entry);
    }

    /// Messages that have not been sent.
    pub(super) fn unsent(&self) -> usize {
        self.waiting.len()
    }

    /// The topics of the messages that have not been sent and that the broker is to keep.
    pub(super) fn waiting_records(&self) -> BTreeSet<String> {
        let retained = self.waiting.iter().filter(|entry| entry.message.is_retained());
        retained.map(|entry| entry.message.topic().to_owned()).collect()
    }

    /// Whether the status is being published.
    pub(super) fn has_status(&self) -> bool {
        let sent = self.sent.iter().map(|(_, entry)| entry);
        self.waiting.iter().chain(sent).any(Entry::is_status)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// The message that is sent next, if fewer than `max` have no
    /// acknowledgement.
    pub(super) fn next(&mut self, max: u16) -> Option<&mut Message> {
        let last = self.sent.back().map(|(_, entry)| entry);
        let is_alone = last.into_iter().chain(self.waiting.front()).any(|one| one.is_suspect);
        let max = if is_alone { 1 } else { max };
        let first = self.waiting.front_mut().map(|entry| &mut entry.message);
        first.filter(|_| self.sent.len() < usize::from(max))
    }

    /// What [`Outbox::next`] has returned is not sent.
    pub(super) fn give_up(&mut self) -> Option<Message> {
        self.waiting.pop_front().map(|entry| entry.message)
    }

    /// What [`Outbox::next`] has returned is sent, after so many acknowledgements, under
    /// the packet identifier that this returns.
    pub(super) fn send(&mut self, acknowledgements: u64) -> u16 {
        loop {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            // Far fewer messages are sent than there are identifiers.
            if self.sent.iter().all(|(id, _)| *id != self.packet_id) {
                break;
            }
        }
        if let Some(mut entry) = self.waiting.pop_front() {
            entry.acknowledgements = acknowledgements;
            for (_, older) in &mut self.sent {
                older.is_superseded |= entry.message.supersedes(&older.message);
            }
            self.under_way += entry.message.size();
            self.sent.push_back((self.packet_id, entry));
        }
        self.packet_id
    }

    /// The broker has acknowledged a message.
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<Entry> {
        let position = self.sent.iter().position(|(id, _)| *id == packet_id)?;
        let (_, mut entry) = self.sent.remove(position)?;
        self.under_way -= entry.message.size();
        entry.is_suspect = false;
        Some(entry)
    }

    /// Bytes that were sent and that the broker has not acknowledged.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// The broker ends the connection over something that was sent. Returns the
    /// message if there is only one; otherwise they are sent one by one next time.
    pub(super) fn suspect(&mut self) -> Option<&mut Message> {
        for (_, entry) in &mut self.sent {
            entry.is_suspect = true;
        }
        match self.sent.make_contiguous() {
            [(_, entry)] if !entry.is_status() => Some(&mut entry.message),
            _ => None,
        }
    }

    /// The only one that was sent is given up.
    pub(super) fn give_up_suspect(&mut self) -> Option<Message> {
        self.sent.pop_front().map(|(_, entry)| entry.message)
    }

    /// The connection was lost: what was not acknowledged waits again, unless it is
    /// superseded. A status is out of date by then.
    pub(super) fn disconnected(&mut self) {
        self.under_way = 0;
        self.waiting.extend(self.sent.drain(..).map(|(_, entry)| entry));
        self.waiting.retain(|entry| !entry.is_superseded && !entry.is_status());
        self.waiting.make_contiguous().sort_by_key(|entry| entry.number);
    }
}

impl Entry {
    fn is_status(&self) -> bool {
        matches!(self.message, Message::Status { .. })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::mqtt::{Publication, Reply};

    fn reply(delivery: u64) -> Message {
        Message::Reply(Reply::to(delivery))
    }

    fn publication(topic: &str, payload: &'static str, retain: bool) -> Message {
        let (topic, payload) = (topic.to_owned(), Bytes::from_static(payload.as_bytes()));
        Message::Publication(Publication { topic, payload, retain, expiry: None })
    }

    fn record(payload: &'static str) -> Message {
        publication("vehicle/1/events/x/subscription", payload, true)
    }

    fn status(payload: &'static str) -> Message {
        let payload = Bytes::from_static(payload.as_bytes());
        Message::Status { topic: "vehicle/1/connector/status".into(), payload }
    }

    fn send(outbox: &mut Outbox) -> Option<(u16, Message)> {
        let message = outbox.next(2)?.clone();
        Some((outbox.send(0), message))
    }

    /// Sends what may be sent; returns the packet identifiers and the deliveries.
    fn send_all(outbox: &mut Outbox, max: u16) -> Vec<(u16, u64)> {
        let next = || {
            let Message::Reply(Reply { delivery, .. }) = *outbox.next(max)? else { return None };
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
        assert_eq!(outbox.under_way(), 4);
        assert!(outbox.acknowledged(3).is_none());
        assert_eq!(outbox.acknowledged(1).unwrap().message, reply(1));
        assert_eq!(outbox.under_way(), 2);
        assert_eq!(send(&mut outbox), Some((3, reply(3))));
    }

    #[test]
    fn what_is_published_again_keeps_its_order() {
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
    fn a_lost_connection_keeps_the_order_of_what_was_refused() {
        let mut outbox = Outbox::default();
        (1..=4).for_each(|delivery| outbox.push(reply(delivery), None));
        assert_eq!(send_all(&mut outbox, 4), [(1, 1), (2, 2), (3, 3), (4, 4)]);
        [1, 3].into_iter().for_each(|id| refuse(&mut outbox, id));
        assert_eq!(send_all(&mut outbox, 3), [(5, 1)]);
        outbox.disconnected();
        assert_eq!(send_all(&mut outbox, 4), [(6, 1), (7, 2), (8, 3), (9, 4)]);
    }

    #[test]
    fn suspects_are_sent_one_by_one_also_after_what_was_refused() {
        let mut outbox = Outbox::default();
        (1..=4).for_each(|delivery| outbox.push(reply(delivery), None));
        assert_eq!(send_all(&mut outbox, 3), [(1, 1), (2, 2), (3, 3)]);
        refuse(&mut outbox, 1);
        assert_eq!(outbox.suspect(), None);
        outbox.disconnected();
        for (id, delivery) in [(4, 1), (5, 2), (6, 3)] {
            assert_eq!(send_all(&mut outbox, 3), [(id, delivery)]);
            outbox.acknowledged(id).unwrap();
        }
        outbox.push(reply(5), None);
        assert_eq!(send_all(&mut outbox, 3), [(7, 4), (8, 5)]);
    }

    #[test]
    fn identifiers_in_use_are_passed_over() {
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
        assert_eq!((outbox.unsent(), outbox.under_way()), (4, 0));
        for delivery in 1..=4 {
            let (id, message) = send(&mut outbox).unwrap();
            assert_eq!(message, reply(delivery));
            outbox.acknowledged(id);
        }
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_is_retained_does_not_take_the_place_of_what_is_newer() {
        for (older, newer) in [(record("{}"), record("")), (status("1"), status("2"))] {
            // Whichever the broker acknowledges first, and whether it takes the newer one.
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
    fn a_lost_connection_does_not_bring_back_what_is_superseded() {
        let mut outbox = Outbox::default();
        outbox.push(record("{}"), None);
        outbox.push(record(""), None);
        assert!(send(&mut outbox).is_some() && send(&mut outbox).is_some());
        outbox.acknowledged(2).unwrap();
        outbox.disconnected();
        assert!(outbox.is_empty());
    }

    #[test]
    fn only_what_is_retained_for_the_same_topic_is_superseded() {
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
    fn what_is_refused_comes_again_before_a_newer_one_that_waits() {
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
