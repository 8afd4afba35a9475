//! Tests of the registry, with `()` as the stream.

use fleet_contract::SubscriptionId;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;

fn key(id: impl ToString) -> SubscriptionKey {
    SubscriptionKey {
        kind: StreamKind::Events,
        id: SubscriptionId::try_from(id.to_string()).unwrap(),
    }
}

/// A request, and whether its turn has come.
struct Requested {
    number: u64,
    turn: oneshot::Receiver<()>,
}

impl Requested {
    fn has_turn(&mut self) -> bool {
        self.turn.try_recv() != Err(TryRecvError::Empty)
    }
}

fn request(registry: &mut Registry<()>, key: &SubscriptionKey) -> Requested {
    let (turn, receiver) = oneshot::channel();
    Requested { number: registry.enqueue(key, true, turn).unwrap(), turn: receiver }
}

fn request_to_unsubscribe(registry: &mut Registry<()>, key: &SubscriptionKey) -> u64 {
    registry.enqueue(key, false, oneshot::channel().0).unwrap()
}

fn subscribe(registry: &mut Registry<()>, key: &SubscriptionKey) -> u64 {
    registry.reserve(key, QueuedMessages::Recall).unwrap();
    let mut number = 0;
    registry.start(key, |started| number = started);
    number
}

fn full() -> Registry<()> {
    let mut registry = Registry::default();
    for id in 0..MAX_SUBSCRIPTIONS {
        subscribe(&mut registry, &key(id));
    }
    registry
}

#[test]
fn requests_for_one_subscription_have_their_turns_in_order() {
    let mut registry = Registry::default();
    let [mut first, mut second] = [(), ()].map(|()| request(&mut registry, &key("a")));
    let mut other = request(&mut registry, &key("b"));
    assert!(first.has_turn() && other.has_turn() && !second.has_turn());
    registry.finish(&key("a"), first.number);
    assert!(second.has_turn());
    registry.finish(&key("a"), second.number);
    registry.finish(&key("b"), other.number);
}

#[test]
fn entries_that_are_not_used_any_more_are_removed() {
    let mut registry = full();
    for id in 0..10_000 {
        let key = key(format!("record-{id}"));
        assert!(matches!(registry.record_found(&key), RecordStatus::New));
        drop(registry.discard(&key));
        let request = request_to_unsubscribe(&mut registry, &key);
        registry.finish(&key, request);
        assert!(registry.entries.len() <= 2 * MAX_SUBSCRIPTIONS + 2, "{}", registry.entries.len());
    }
    assert_eq!(registry.count(StreamKind::Events), MAX_SUBSCRIPTIONS);
}

#[test]
fn a_request_that_is_given_up_does_not_let_later_ones_overtake_earlier_ones() {
    let mut registry = Registry::default();
    let [first, second, mut third] = [(), (), ()].map(|()| request(&mut registry, &key("a")));
    registry.finish(&key("a"), second.number);
    assert!(!third.has_turn());
    let fourth = request(&mut registry, &key("a"));
    registry.finish(&key("a"), third.number);
    registry.finish(&key("a"), fourth.number);
    let mut fifth = request(&mut registry, &key("a"));
    assert!(!fifth.has_turn());
    registry.finish(&key("a"), first.number);
    assert!(fifth.has_turn());
}

#[test]
fn a_slot_that_a_request_has_not_used_is_free_again() {
    let mut registry = Registry::default();
    let request = request(&mut registry, &key("a"));
    registry.reserve(&key("a"), QueuedMessages::Keep).unwrap();
    assert_eq!(registry.count(StreamKind::Events), 1);
    registry.finish(&key("a"), request.number);
    assert_eq!(registry.count(StreamKind::Events), 0);
}

#[test]
fn one_more_than_the_maximum_is_refused_but_not_a_replacement() {
    let mut registry = full();
    let (turn, _) = oneshot::channel();
    assert_eq!(registry.enqueue(&key("more"), true, turn), Err(TooMany));
    assert!(registry.reserve(&key("more"), QueuedMessages::Keep).is_err());
    assert!(registry.reserve(&key(0), QueuedMessages::Keep).is_ok());
    let (turn, _) = oneshot::channel();
    assert!(registry.enqueue(&key("more"), false, turn).is_ok(), "an unsubscribe");
}

#[test]
fn a_stream_that_was_replaced_does_not_end_the_new_one() {
    let mut registry = Registry::default();
    let former = subscribe(&mut registry, &key("a"));
    let number = subscribe(&mut registry, &key("a"));
    assert!(registry.stream_ended(&key("a"), former).is_none());
    registry.end_published(&key("a"), former);
    assert_eq!(registry.count(StreamKind::Events), 1);
    assert!(registry.stream_ended(&key("a"), number).is_some());
    registry.end_published(&key("a"), number);
    assert_eq!(registry.count(StreamKind::Events), 0);
    assert!(registry.remove(&key("a")).is_none());
}

#[test]
fn records_wait_for_a_slot_in_order_and_within_limits() {
    let mut registry = full();
    let waits = |registry: &mut Registry<()>, id: String, size: usize| {
        matches!(registry.resume(&key(id), &vec![b' '; size], None), Slot::Waiting)
    };
    let waiting = (0..1000).filter(|id| waits(&mut registry, format!("r{id}"), 2)).count();
    assert_eq!(waiting, MAX_WAITING);
    assert!(registry.next_waiting().is_none(), "there is no slot");
    assert!(registry.remove(&key("r0")).is_some());
    assert!(registry.remove(&key("r0")).is_none());
    let size = MAX_WAITING_BYTES / 4;
    let large = (0..10).filter(|id| waits(&mut registry, format!("l{id}"), size)).count();
    assert_eq!(large, 1, "there was room for one more record");
    registry.remove(&key(0));
    assert_eq!(registry.next_waiting().unwrap().0, key("r1"));
    // The caller then reserves the slot.
    assert!(matches!(registry.resume(&key("r1"), b"{}", None), Slot::Reserved(_)));
    assert!(registry.next_waiting().is_none());
}

#[test]
fn records_that_wait_have_a_maximum_size_together() {
    let mut registry = full();
    let record = vec![b' '; MAX_WAITING_BYTES / 4];
    let waiting = (0..10).filter(|id| {
        matches!(registry.resume(&key(format!("r{id}")), &record, None), Slot::Waiting)
    });
    assert_eq!(waiting.count(), 4);
}

#[test]
fn an_early_unsubscribe_is_remembered_within_limits() {
    let mut registry = Registry::<()>::default();
    for id in 0..=MAX_EARLY {
        registry.remember_unsubscribe(&key(id), oneshot::channel().0);
    }
    assert!(matches!(registry.record_found(&key(0)), RecordStatus::New));
    assert!(matches!(registry.record_found(&key(MAX_EARLY)), RecordStatus::Unsubscribed(_)));
    assert!(matches!(registry.record_found(&key(MAX_EARLY)), RecordStatus::New));
}

#[test]
fn an_unsubscribe_that_waits_is_signalled_when_the_record_arrives() {
    let mut registry = Registry::<()>::default();
    let [(given_up, _), (found, mut signal)] = [(), ()].map(|()| oneshot::channel());
    registry.remember_unsubscribe(&key("a"), given_up);
    registry.remember_unsubscribe(&key("a"), found);
    assert!(matches!(registry.record_found(&key("a")), RecordStatus::Awaited));
    assert!(signal.try_recv().is_ok());
}

#[test]
fn a_new_subscription_cancels_an_early_unsubscribe_and_ignores_its_record() {
    let mut registry = Registry::default();
    registry.remember_unsubscribe(&key("a"), oneshot::channel().0);
    subscribe(&mut registry, &key("a"));
    assert!(matches!(registry.record_found(&key("a")), RecordStatus::Known));
    registry.remove(&key("a"));
    assert!(matches!(registry.record_found(&key("a")), RecordStatus::New));
}
