//! Which requests the broker may be told are done, and in which order.
//!
//! A request is acknowledged once the broker has taken its reply, and
//! acknowledgements go out in the order in which the requests came (MQTT 5,
//! 4.6). After a connection was lost the broker delivers again what was not
//! acknowledged. A request that is still being served, or whose reply is
//! already there, is recognised then and not served twice.
//!
//! Acknowledgements can be lost with the connection. What comes again because of that
//! would be served after the requests that had come behind it and are not served again,
//! and an old update would undo a newer one. So it is recognised as well, if there are
//! such requests; else all that comes again is served once more, in order. It is known
//! only as long as the broker may not have got the acknowledgement: afterwards an equal
//! message can come with the same packet identifier.

use std::collections::{BTreeMap, VecDeque};

/// What is to be done with a message that has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// Serve it under this number.
    New(u64),
    /// It is being served already.
    Again,
    /// The broker holds back nothing.
    TooMany,
}

/// Requests without an acknowledgement that are borne. Mosquitto 2.0 takes no
/// notice of Receive Maximum if its `max_queued_messages` is 0.
pub(super) const MAX_UNACKNOWLEDGED: usize = 4096;

/// Requests that are remembered after their acknowledgement. A broker that honours Receive
/// Maximum sends far fewer without getting any.
const MAX_ACKNOWLEDGED: usize = 1024;

/// The QoS 1 requests that the broker still holds.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    next: u64,
    /// All requests that are not acknowledged, by number.
    open: BTreeMap<u64, Delivery>,
    /// Those that this connection has delivered: packet identifier and number.
    arrived: VecDeque<(u16, u64)>,
    /// Those that this connection has acknowledged, and the broker may not have got it:
    /// packet identifier and fingerprint.
    acknowledged: VecDeque<(u16, u64)>,
    /// Acknowledgements so far.
    acknowledgements: u64,
    /// Those that a former connection has acknowledged, perhaps in vain. They come before
    /// all that was not acknowledged.
    in_vain: Vec<(u16, u64)>,
    /// The broker has begun to send what is new, so nothing old will follow.
    redelivered: bool,
}

#[derive(Debug)]
struct Delivery {
    packet_id: u16,
    fingerprint: u64,
    /// A former connection has acknowledged it in vain.
    in_vain: bool,
    replied: bool,
    /// Delivered by this connection.
    arrived: bool,
}

impl Deliveries {
    /// A new connection. Without a session on the broker's side nothing will come again.
    pub(super) fn connected(&mut self, session_present: bool) {
        self.arrived.clear();
        self.redelivered = false;
        if !session_present {
            self.open.clear();
            self.acknowledged.clear();
            self.in_vain.clear();
            return;
        }
        self.in_vain.extend(self.acknowledged.drain(..));
        let again = self.open.extract_if(.., |_, delivery| delivery.in_vain);
        self.in_vain.extend(again.map(|(_, delivery)| (delivery.packet_id, delivery.fingerprint)));
        for delivery in self.open.values_mut() {
            delivery.arrived = false;
        }
    }

    /// The number of a message that needs no acknowledgement (QoS 0).
    pub(super) fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A QoS 1 message has come.
    pub(super) fn accept(&mut self, packet_id: u16, dup: bool, fingerprint: u64) -> Accepted {
        if self.arrived.len() >= MAX_UNACKNOWLEDGED {
            return Accepted::TooMany;
        }
        if dup {
            if let Some(number) = self.known(packet_id, fingerprint) {
                self.arrived.push_back((packet_id, number));
                return Accepted::Again;
            }
        } else if !self.redelivered {
            // Old messages come first (MQTT 5, 4.6).
            self.redelivered = true;
            self.open.retain(|_, delivery| delivery.arrived || !delivery.replied);
        }
        self.in_vain.clear();
        let number = self.insert(packet_id, fingerprint, false);
        self.arrived.push_back((packet_id, number));
        Accepted::New(number)
    }

    /// Gives a message that has arrived a number. One that was acknowledged `in_vain` has
    /// its reply.
    fn insert(&mut self, packet_id: u16, fingerprint: u64, in_vain: bool) -> u64 {
        let number = self.next_number();
        let delivery =
            Delivery { packet_id, fingerprint, in_vain, replied: in_vain, arrived: true };
        self.open.insert(number, delivery);
        number
    }

    /// The number of a message that comes again.
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
            && self.in_vain.contains(&(packet_id, fingerprint))
            && self.open.values().any(|delivery| !delivery.in_vain)
        {
            return Some(self.insert(packet_id, fingerprint, true));
        }
        // Should a broker give out others, messages come in order at least.
        let number = exact.or_else(|| find(&|_| true))?;
        let delivery = self.open.get_mut(&number)?;
        delivery.packet_id = packet_id;
        delivery.arrived = true;
        self.in_vain.clear();
        Some(number)
    }

    /// The broker has taken the reply.
    pub(super) fn replied(&mut self, number: u64) {
        if let Some(delivery) = self.open.get_mut(&number) {
            delivery.replied = true;
            if !delivery.arrived && self.redelivered {
                self.open.remove(&number);
            }
        }
    }

    /// Acknowledgements whose turn it is; counted up to `max`.
    pub(super) fn due_acknowledgements(&self, max: usize) -> usize {
        self.arrived.iter().take(max).take_while(|(_, number)| !self.waits(*number)).count()
    }

    /// The packet identifier that is to be acknowledged next, if it is its turn.
    pub(super) fn next_acknowledgement(&self) -> Option<u16> {
        let (packet_id, number) = self.arrived.front()?;
        (!self.waits(*number)).then_some(*packet_id)
    }

    /// Whether a request has no reply.
    fn waits(&self, number: u64) -> bool {
        self.open.get(&number).is_some_and(|delivery| !delivery.replied)
    }

    /// What [`Deliveries::next_acknowledgement`] has returned is on its way.
    pub(super) fn acknowledged(&mut self) {
        let Some((packet_id, number)) = self.arrived.pop_front() else { return };
        let Some(delivery) = self.open.remove(&number) else { return };
        self.acknowledgements += 1;
        self.acknowledged.push_back((packet_id, delivery.fingerprint));
        if self.acknowledged.len() > MAX_ACKNOWLEDGED {
            self.acknowledged.pop_front();
        }
    }

    /// How many acknowledgements are on their way, or have arrived.
    pub(super) fn acknowledgements(&self) -> u64 {
        self.acknowledgements
    }

    /// The broker has got the first acknowledgements, up to this number: it has answered
    /// what was sent after them.
    pub(super) fn got(&mut self, acknowledgements: u64) {
        let left = self.acknowledgements.saturating_sub(acknowledgements);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let gone = self.acknowledged.len().saturating_sub(left);
        self.acknowledged.drain(..gone);
    }

    /// Requests of this connection without an acknowledgement.
    pub(super) fn unacknowledged(&self) -> usize {
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
    fn what_is_still_served_is_not_served_again() {
        let mut deliveries = Deliveries::default();
        let [a, b] = [1, 2].map(|id| new(&mut deliveries, id, id.into()));
        deliveries.replied(b);
        deliveries.connected(true);
        // This broker gives out new packet identifiers.
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
        // A third one was sent by the broker, but has never come here before.
        assert!(matches!(deliveries.accept(3, true, 5), Accepted::New(_)));
    }

    #[test]
    fn what_was_acknowledged_in_vain_is_not_served_behind_what_came_after_it() {
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
    fn what_was_acknowledged_is_served_again_if_nothing_came_after_it() {
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
        // The broker has used the identifier once more, for what did not come here.
        assert!(matches!(deliveries.accept(1, true, 5), Accepted::New(_)));
        deliveries.replied(b);
        assert_eq!(acknowledgements(&mut deliveries), [2]);
    }

    #[test]
    fn what_the_broker_has_got_is_forgotten() {
        let mut deliveries = Deliveries::default();
        let [a, b, _] = [1, 2, 3].map(|id| new(&mut deliveries, id, id.into()));
        deliveries.replied(a);
        assert_eq!(acknowledgements(&mut deliveries), [1]);
        let first = deliveries.acknowledgements();
        deliveries.replied(b);
        assert_eq!(acknowledgements(&mut deliveries), [2]);
        deliveries.got(first);
        deliveries.connected(true);
        // Under the identifier of the first, what has never come: the open one has expired.
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
    fn what_the_broker_does_not_deliver_again_is_forgotten() {
        let mut deliveries = Deliveries::default();
        let [a, b] = [1, 2].map(|id| new(&mut deliveries, id, id.into()));
        deliveries.replied(a);
        deliveries.connected(true);
        new(&mut deliveries, 3, 3);
        deliveries.replied(b);
        assert_eq!(deliveries.open.len(), 1);
    }

    #[test]
    fn there_is_an_end_to_what_is_borne() {
        let mut deliveries = Deliveries::default();
        for id in 0..u16::try_from(MAX_UNACKNOWLEDGED).unwrap() {
            new(&mut deliveries, id, id.into());
        }
        assert_eq!(deliveries.accept(5000, false, 3), Accepted::TooMany);
    }
}
