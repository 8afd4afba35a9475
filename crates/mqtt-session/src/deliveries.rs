//! Which messages are acknowledged, and in which order.
//!
//! A message is acknowledged once the broker has acknowledged its reply, and acknowledgements
//! are sent in the order in which the messages arrived (MQTT 5, 4.6). After a connection was
//! lost, the broker delivers again what was not acknowledged. A message that is still being
//! served, or whose reply is ready, is recognised then and not served twice.
//!
//! Acknowledgements can be lost with the connection. A message that is delivered again for
//! that reason would be served after messages that arrived behind it and are not served
//! again, and an old update would undo a newer one. So it is recognised as well, if there are
//! such messages; otherwise all messages that are delivered again are served again, in order. A
//! message is remembered only until its acknowledgement is confirmed: after that, an equal
//! message can arrive with the same packet identifier.

use std::collections::{BTreeMap, VecDeque};

/// What to do with a message that has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// Serve it under this number.
    New(u64),
    /// It is being served already.
    Again,
    /// The broker ignores *Receive Maximum*.
    TooMany,
}

/// Maximum number of messages without an acknowledgement. Mosquitto 2.0 ignores *Receive
/// Maximum* if its `max_queued_messages` is 0.
pub(crate) const MAX_UNACKNOWLEDGED: usize = 4096;

/// Maximum number of messages whose acknowledgement is not confirmed. A broker that honours
/// *Receive Maximum* sends far fewer before it has received acknowledgements.
const MAX_UNCONFIRMED: usize = 1024;

/// The QoS 1 messages that the broker still holds.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    next: u64,
    /// All messages without an acknowledgement, by number.
    open: BTreeMap<u64, Delivery>,
    /// Those that arrived on this connection: packet identifier and number.
    arrived: VecDeque<(u16, u64)>,
    /// Messages that were acknowledged on this connection, and the broker may not have
    /// received the acknowledgement: packet identifier and fingerprint.
    unconfirmed: VecDeque<(u16, u64)>,
    /// How many acknowledgements were sent.
    acknowledgements: u64,
    /// Messages that were acknowledged on an earlier connection, and the acknowledgement may
    /// be lost. They are delivered again before all others.
    maybe_lost: Vec<(u16, u64)>,
    /// The broker has sent a new message, so nothing will be delivered again after it.
    redelivered: bool,
}

#[derive(Debug)]
struct Delivery {
    packet_id: u16,
    fingerprint: u64,
    /// It was acknowledged on an earlier connection, and the acknowledgement was lost.
    was_acknowledged: bool,
    replied: bool,
    /// It has arrived on this connection.
    arrived: bool,
}

impl Deliveries {
    /// A new connection. Without a session at the broker, nothing is delivered again.
    pub(crate) fn connected(&mut self, session_present: bool) {
        self.arrived.clear();
        self.redelivered = false;
        if !session_present {
            self.open.clear();
            self.unconfirmed.clear();
            self.maybe_lost.clear();
            return;
        }
        self.maybe_lost.extend(self.unconfirmed.drain(..));
        let again = self.open.extract_if(.., |_, delivery| delivery.was_acknowledged);
        self.maybe_lost
            .extend(again.map(|(_, delivery)| (delivery.packet_id, delivery.fingerprint)));
        for delivery in self.open.values_mut() {
            delivery.arrived = false;
        }
    }

    /// The number of a message that needs no acknowledgement (QoS 0).
    pub(crate) fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Records a QoS 1 message that has arrived.
    pub(crate) fn accept(&mut self, packet_id: u16, dup: bool, fingerprint: u64) -> Accepted {
        if self.arrived.len() >= MAX_UNACKNOWLEDGED {
            return Accepted::TooMany;
        }
        if dup {
            if let Some(number) = self.known(packet_id, fingerprint) {
                self.arrived.push_back((packet_id, number));
                return Accepted::Again;
            }
        } else if !self.redelivered {
            // Messages that are delivered again come first (MQTT 5, 4.6).
            self.redelivered = true;
            self.open.retain(|_, delivery| delivery.arrived || !delivery.replied);
        }
        self.maybe_lost.clear();
        let number = self.insert(packet_id, fingerprint, false);
        self.arrived.push_back((packet_id, number));
        Accepted::New(number)
    }

    /// Gives a message that has arrived a number. One that `was_acknowledged` has its reply.
    fn insert(&mut self, packet_id: u16, fingerprint: u64, was_acknowledged: bool) -> u64 {
        let number = self.next_number();
        let replied = was_acknowledged;
        let delivery =
            Delivery { packet_id, fingerprint, was_acknowledged, replied, arrived: true };
        self.open.insert(number, delivery);
        number
    }

    /// The number of a message that is delivered again.
    fn known(&mut self, packet_id: u16, fingerprint: u64) -> Option<u64> {
        let find = |is_it: &dyn Fn(&Delivery) -> bool| {
            let mut equal = self.open.iter().filter(|(_, delivery)| {
                !delivery.arrived && delivery.fingerprint == fingerprint && is_it(delivery)
            });
            equal.next().map(|(number, _)| *number)
        };
        // Equal messages are told apart by their identifiers, which stay the same (MQTT 5,
        // 4.4).
        let exact = find(&|delivery| delivery.packet_id == packet_id);
        if exact.is_none()
            && self.maybe_lost.contains(&(packet_id, fingerprint))
            && self.open.values().any(|delivery| !delivery.was_acknowledged)
        {
            return Some(self.insert(packet_id, fingerprint, true));
        }
        // If a broker assigns new ones, at least the order is the same.
        let number = exact.or_else(|| find(&|_| true))?;
        let delivery = self.open.get_mut(&number)?;
        delivery.packet_id = packet_id;
        delivery.arrived = true;
        self.maybe_lost.clear();
        Some(number)
    }

    /// The broker has acknowledged the reply.
    pub(crate) fn replied(&mut self, number: u64) {
        if let Some(delivery) = self.open.get_mut(&number) {
            delivery.replied = true;
            if !delivery.arrived && self.redelivered {
                self.open.remove(&number);
            }
        }
    }

    /// The number of acknowledgements that are due, at most `max`.
    pub(crate) fn due_acknowledgements(&self, max: usize) -> usize {
        self.arrived.iter().take(max).take_while(|(_, number)| !self.waits(*number)).count()
    }

    /// The packet identifier to be acknowledged next, if that is due.
    pub(crate) fn next_acknowledgement(&self) -> Option<u16> {
        let (packet_id, number) = self.arrived.front()?;
        (!self.waits(*number)).then_some(*packet_id)
    }

    /// Whether a message has no reply yet.
    fn waits(&self, number: u64) -> bool {
        self.open.get(&number).is_some_and(|delivery| !delivery.replied)
    }

    /// Records that the acknowledgement of [`Deliveries::next_acknowledgement`] is sent.
    pub(crate) fn acknowledged(&mut self) {
        let Some((packet_id, number)) = self.arrived.pop_front() else { return };
        let Some(delivery) = self.open.remove(&number) else { return };
        self.acknowledgements += 1;
        self.unconfirmed.push_back((packet_id, delivery.fingerprint));
        if self.unconfirmed.len() > MAX_UNCONFIRMED {
            self.unconfirmed.pop_front();
        }
    }

    /// How many acknowledgements were sent.
    pub(crate) fn acknowledgements(&self) -> u64 {
        self.acknowledgements
    }

    /// The broker has received the first `acknowledgements`: it has answered a packet that was
    /// sent after them.
    pub(crate) fn confirmed(&mut self, acknowledgements: u64) {
        let left = self.acknowledgements.saturating_sub(acknowledgements);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let gone = self.unconfirmed.len().saturating_sub(left);
        self.unconfirmed.drain(..gone);
    }

    /// Whether messages have arrived whose reply the broker has not acknowledged.
    pub(crate) fn has_unanswered(&self) -> bool {
        self.open.values().any(|delivery| !delivery.replied)
    }

    /// The number of messages of this connection without an acknowledgement.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.arrived.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn new(deliveries: &mut Deliveries, packet_id: u16, fingerprint: u64) -> u64 {
        match deliveries.accept(packet_id, false, fingerprint) {
            Accepted::New(number) => number,
            other => panic!("{other:?}"),
        }
    }

    fn acknowledgements(deliveries: &mut Deliveries) -> Vec<u16> {
        let next = || deliveries.next_acknowledgement().inspect(|_| deliveries.acknowledged());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn acknowledgements_keep_the_order_of_arrival() {
        let mut deliveries = Deliveries::default();
        let [a, b, c] = [10, 11, 12].map(|id| new(&mut deliveries, id, id.into()));
        deliveries.replied(b);
        deliveries.replied(c);
        assert!(acknowledgements(&mut deliveries).is_empty());
        deliveries.replied(a);
        assert_eq!(acknowledgements(&mut deliveries), [10, 11, 12]);
        assert!(deliveries.open.is_empty());
    }

    #[test]
    fn a_message_that_is_still_served_is_not_served_again() {
        let mut deliveries = Deliveries::default();
        let [a, b] = [1, 2].map(|id| new(&mut deliveries, id, id.into()));
        deliveries.replied(b);
        deliveries.connected(true);
        // This broker assigns new packet identifiers.
        assert_eq!(deliveries.accept(7, true, 1), Accepted::Again);
        assert_eq!(deliveries.accept(8, true, 2), Accepted::Again);
        assert!(acknowledgements(&mut deliveries).is_empty());
        deliveries.replied(a);
        assert_eq!(acknowledgements(&mut deliveries), [7, 8]);
    }

    #[test]
    fn an_acknowledgement_waits_for_the_redelivery() {
        let mut deliveries = Deliveries::default();
        let a = new(&mut deliveries, 1, 1);
        deliveries.connected(true);
        deliveries.replied(a);
        assert!(acknowledgements(&mut deliveries).is_empty());
        assert_eq!(deliveries.accept(1, true, 1), Accepted::Again);
        assert_eq!(acknowledgements(&mut deliveries), [1]);
    }

    #[test]
    fn equal_requests_are_told_apart_by_the_dup_flag() {
        let mut deliveries = Deliveries::default();
        let a = new(&mut deliveries, 1, 5);
        deliveries.connected(true);
        assert_eq!(deliveries.accept(1, true, 5), Accepted::Again);
        let b = new(&mut deliveries, 2, 5);
        assert_ne!(a, b);
        // A third one was sent by the broker before, but has never arrived.
        assert!(matches!(deliveries.accept(3, true, 5), Accepted::New(_)));
    }

    #[test]
    fn a_message_whose_acknowledgement_was_lost_is_not_served_after_later_ones() {
        let mut deliveries = Deliveries::default();
        let [a, _, c] = [1, 2, 3].map(|id| new(&mut deliveries, id, id.into()));
        deliveries.replied(a);
        deliveries.replied(c);
        assert_eq!(acknowledgements(&mut deliveries), [1]);
        // However often that is, and whether it is acknowledged again or not.
        for again in [true, false, true] {
            deliveries.connected(true);
            assert_eq!(deliveries.accept(1, true, 1), Accepted::Again);
            if again {
                assert_eq!(acknowledgements(&mut deliveries), [1]);
            }
        }
        assert_eq!(deliveries.accept(2, true, 2), Accepted::Again);
        assert_eq!(deliveries.accept(3, true, 3), Accepted::Again);
        assert!(acknowledgements(&mut deliveries).is_empty());
        deliveries.connected(true);
        assert_eq!(deliveries.accept(1, true, 1), Accepted::Again);
    }

    #[test]
    fn a_message_whose_acknowledgement_was_lost_is_served_again_if_nothing_arrived_after_it() {
        let mut deliveries = Deliveries::default();
        for number in [1, 2].map(|id| new(&mut deliveries, id, id.into())) {
            deliveries.replied(number);
        }
        assert_eq!(acknowledgements(&mut deliveries), [1, 2]);
        deliveries.connected(true);
        assert!(matches!(deliveries.accept(1, true, 1), Accepted::New(_)));
        assert!(matches!(deliveries.accept(2, true, 2), Accepted::New(_)));
    }

    #[test]
    fn a_message_is_not_taken_for_an_equal_one_that_was_acknowledged() {
        let mut deliveries = Deliveries::default();
        let [a, b] = [1, 2].map(|id| new(&mut deliveries, id, 5));
        deliveries.replied(a);
        assert_eq!(acknowledgements(&mut deliveries), [1]);
        deliveries.connected(true);
        // The acknowledgement was not lost.
        assert_eq!(deliveries.accept(2, true, 5), Accepted::Again);
        assert!(acknowledgements(&mut deliveries).is_empty());
        // The broker has used the identifier again, for a message that has not arrived.
        assert!(matches!(deliveries.accept(1, true, 5), Accepted::New(_)));
        deliveries.replied(b);
        assert_eq!(acknowledgements(&mut deliveries), [2]);
    }

    #[test]
    fn a_confirmed_acknowledgement_is_forgotten() {
        let mut deliveries = Deliveries::default();
        let [a, b, _] = [1, 2, 3].map(|id| new(&mut deliveries, id, id.into()));
        deliveries.replied(a);
        assert_eq!(acknowledgements(&mut deliveries), [1]);
        let first = deliveries.acknowledgements();
        deliveries.replied(b);
        assert_eq!(acknowledgements(&mut deliveries), [2]);
        deliveries.confirmed(first);
        deliveries.connected(true);
        // The identifier of the first one, with a message that is new: the open one has expired.
        assert_eq!(deliveries.accept(2, true, 2), Accepted::Again);
        assert!(matches!(deliveries.accept(1, true, 1), Accepted::New(_)));
    }

    #[test]
    fn a_lost_session_is_forgotten() {
        let mut deliveries = Deliveries::default();
        let a = new(&mut deliveries, 1, 1);
        deliveries.connected(false);
        let b = new(&mut deliveries, 1, 2);
        deliveries.replied(a);
        assert!(acknowledgements(&mut deliveries).is_empty());
        deliveries.replied(b);
        assert_eq!(acknowledgements(&mut deliveries), [1]);
    }

    #[test]
    fn a_message_that_the_broker_does_not_deliver_again_is_forgotten() {
        let mut deliveries = Deliveries::default();
        let [a, b] = [1, 2].map(|id| new(&mut deliveries, id, id.into()));
        deliveries.replied(a);
        deliveries.connected(true);
        new(&mut deliveries, 3, 3);
        deliveries.replied(b);
        assert_eq!(deliveries.open.len(), 1);
    }

    #[test]
    fn unacknowledged_messages_are_limited() {
        let mut deliveries = Deliveries::default();
        for id in 0..u16::try_from(MAX_UNACKNOWLEDGED).unwrap() {
            new(&mut deliveries, id, id.into());
        }
        assert_eq!(deliveries.accept(5000, false, 3), Accepted::TooMany);
    }
}
