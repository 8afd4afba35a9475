//! Which subscriptions there are: the state of the registry, without I/O and without a clock.
//!
//! Each key has one entry, which holds all that is known of it: the requests for it that are
//! in progress, its stream or the record that waits for a place, recall handles of its queued
//! messages, and unsubscribes that came before its record.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fleet_contract::topics::StreamKind;
use mqtt_session::Recall;
use tokio::sync::oneshot;

use super::key::Key;
use super::recalls::{Queued, Recalls};

/// Maximum number of subscriptions at the same time.
pub(super) const MAX_SUBSCRIPTIONS: usize = 256;

/// Maximum number of records that wait for a place.
const MAX_WAITING: usize = 256;

/// Maximum size of all records that wait for a place, in bytes.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// Maximum number of early unsubscribes that are remembered; the oldest are forgotten.
const MAX_EARLY: usize = 256;

/// There are [`MAX_SUBSCRIPTIONS`] subscriptions already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// All subscriptions of a vehicle. `S` is a stream; dropping it ends it.
#[derive(Debug)]
pub(super) struct Registry<S> {
    entries: BTreeMap<Key, Entry<S>>,
    /// Numbers requests, streams, waiting records and early unsubscribes.
    last_number: u64,
}

#[derive(Debug)]
struct Entry<S> {
    /// Requests for this key in progress, in the order of arrival.
    requests: VecDeque<Request>,
    state: State<S>,
    recalls: Recalls,
    /// Unsubscribes that came before the record of the subscription.
    early: Option<EarlyUnsubscribes>,
}

#[derive(Debug)]
struct Request {
    number: u64,
    /// Tells the request that all earlier ones are done. `None` once it was told.
    turn: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
enum State<S> {
    /// There is no subscription.
    Absent,
    /// A place is taken; the stream starts soon.
    Reserved,
    /// Its messages are being published.
    Live { number: u64, _stream: S },
    /// The record of a subscription for which there is no place.
    Waiting { number: u64, record: Bytes },
}

#[derive(Debug)]
struct EarlyUnsubscribes {
    number: u64,
    /// Those who wait for the record, or have given up.
    waiting: Vec<oneshot::Sender<()>>,
}

/// What an unsubscribe has found.
#[derive(Debug)]
pub(super) enum Removed {
    /// A subscription, whose end is to be published with this handle.
    Subscription(Recall),
    /// Nothing.
    Nothing,
}

/// What is to be done with a record that the broker has retained.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing: the subscription is there already.
    Known,
    /// An unsubscribe waits for it and ends it.
    Awaited,
    /// It was unsubscribed; its end is to be published with this handle.
    Unsubscribed(Recall),
    /// It is to be resumed.
    New,
}

/// Whether a subscription of a former process can be resumed.
#[derive(Debug)]
pub(super) enum Place {
    /// Yes, with these handles.
    Reserved(Recalls),
    /// Its record waits for a place.
    Waits,
    /// There is no room for its record either.
    Full,
}

impl<S> Default for Registry<S> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), last_number: 0 }
    }
}

impl<S> Default for Entry<S> {
    fn default() -> Self {
        let (requests, state) = (VecDeque::new(), State::Absent);
        Self { requests, state, recalls: Recalls::default(), early: None }
    }
}

impl<S> State<S> {
    fn takes_a_place(&self) -> bool {
        matches!(self, Self::Reserved | Self::Live { .. })
    }
}

impl<S> Entry<S> {
    fn is_unused(&self) -> bool {
        self.requests.is_empty()
            && matches!(self.state, State::Absent)
            && self.early.is_none()
            && self.recalls.are_unused()
    }
}

impl<S> Registry<S> {
    /// Adds a request for a subscription. `turn` is told when all earlier requests for the
    /// same key are done. Returns the number of the request.
    ///
    /// # Errors
    /// One more subscription has no place; never if the request does not subscribe.
    pub(super) fn enqueue(
        &mut self,
        key: &Key,
        subscribes: bool,
        turn: oneshot::Sender<()>,
    ) -> Result<u64, TooMany> {
        self.entries.retain(|_, entry| !entry.is_unused());
        if subscribes {
            self.check_room(key)?;
        }
        let number = self.next_number();
        let requests = &mut self.entry(key).requests;
        requests.push_back(Request { number, turn: Some(turn) });
        if requests.len() == 1 {
            self.grant_turn(key);
        }
        Ok(number)
    }

    /// A request is done, or given up. A place that it has reserved and not used is free.
    pub(super) fn finish(&mut self, key: &Key, request: u64) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let is_first = entry.requests.front().is_some_and(|first| first.number == request);
        entry.requests.retain(|other| other.number != request);
        if is_first {
            if matches!(entry.state, State::Reserved) {
                entry.state = State::Absent;
            }
            self.grant_turn(key);
        }
    }

    fn grant_turn(&mut self, key: &Key) {
        let entry = self.entries.get_mut(key);
        let first = entry.and_then(|entry| entry.requests.front_mut());
        if let Some(turn) = first.and_then(|first| first.turn.take()) {
            // A request that was given up is finished soon.
            let _ = turn.send(());
        }
    }

    /// Reserves a place for a subscription whose turn it is. One of the same key is replaced:
    /// its stream ends, and `queued` says what becomes of its queued messages.
    ///
    /// # Errors
    /// There is no place.
    pub(super) fn reserve(&mut self, key: &Key, queued: Queued) -> Result<Recalls, TooMany> {
        self.check_room(key)?;
        let entry = self.entry(key);
        entry.state = State::Reserved;
        entry.early = None;
        Ok(entry.recalls.replace(queued))
    }

    /// Starts the stream of a subscription with a place. `stream` gets its number, by which
    /// [`Registry::stream_ended`] knows it.
    pub(super) fn start(&mut self, key: &Key, stream: impl FnOnce(u64) -> S) {
        let number = self.next_number();
        self.entry(key).state = State::Live { number, _stream: stream(number) };
    }

    /// Ends a subscription.
    pub(super) fn remove(&mut self, key: &Key) -> Removed {
        let Some(entry) = self.entries.get_mut(key) else { return Removed::Nothing };
        if matches!(entry.state, State::Absent) {
            return Removed::Nothing;
        }
        entry.state = State::Absent;
        Removed::Subscription(entry.recalls.replace(Queued::Recalled).records)
    }

    /// The record of a subscription that was to be ended has come: `found` said so.
    pub(super) fn end(&mut self, key: &Key) -> Recall {
        self.entry(key).recalls.replace(Queued::Recalled).records
    }

    /// A stream has ended by itself. Gives the handle with which its end is to be published;
    /// `None` if it was replaced or removed in the meantime. It keeps its place until
    /// [`Registry::end_published`].
    pub(super) fn stream_ended(&self, key: &Key, number: u64) -> Option<Recall> {
        let entry = self.entries.get(key)?;
        match entry.state {
            State::Live { number: live, .. } if live == number => {
                Some(entry.recalls.records.clone())
            }
            _ => None,
        }
    }

    /// The end of a stream was published: its place is free.
    pub(super) fn end_published(&mut self, key: &Key, number: u64) {
        if self.stream_ended(key, number).is_some() {
            self.entry(key).state = State::Absent;
        }
    }

    /// Remembers an unsubscribe that found nothing. `found` is told if the record comes while
    /// it is awaited.
    pub(super) fn remember_unsubscribe(&mut self, key: &Key, found: oneshot::Sender<()>) {
        let number = self.next_number();
        let early = &mut self.entry(key).early;
        let early = early.get_or_insert(EarlyUnsubscribes { number, waiting: Vec::new() });
        early.number = number;
        early.waiting.retain(|waiting| !waiting.is_closed());
        early.waiting.push(found);
        let numbers = self.entries.values().filter_map(|entry| entry.early.as_ref());
        let mut numbers: Vec<u64> = numbers.map(|early| early.number).collect();
        if numbers.len() > MAX_EARLY {
            numbers.sort_unstable();
            let oldest = numbers.first().copied();
            for entry in self.entries.values_mut() {
                entry.early.take_if(|early| Some(early.number) == oldest);
            }
        }
    }

    /// A retained record has come.
    pub(super) fn record_found(&mut self, key: &Key) -> Found {
        let Some(entry) = self.entries.get_mut(key) else { return Found::New };
        // The subscription has a newer record.
        if entry.state.takes_a_place() {
            return Found::Known;
        }
        let Some(early) = entry.early.take() else { return Found::New };
        let told = early.waiting.into_iter().map(|waiting| waiting.send(()).is_ok());
        if told.fold(false, |any, told| any | told) {
            Found::Awaited
        } else {
            Found::Unsubscribed(entry.recalls.replace(Queued::Recalled).records)
        }
    }

    /// Reserves a place for the subscription of a retained record, or lets the record wait.
    pub(super) fn resume(&mut self, key: &Key, record: &[u8]) -> Place {
        if self.live() < MAX_SUBSCRIPTIONS {
            let entry = self.entry(key);
            entry.state = State::Reserved;
            return Place::Reserved(entry.recalls.replace(Queued::Kept));
        }
        // It is valid, perhaps somebody relies on it.
        if let Some(entry) = self.entries.get_mut(key) {
            entry.state = State::Absent;
        }
        let waiting = self.entries.values().filter_map(|entry| match &entry.state {
            State::Waiting { record, .. } => Some(record.len()),
            _ => None,
        });
        let (count, bytes) = waiting.fold((0, 0), |(count, all), size| (count + 1, all + size));
        if count >= MAX_WAITING || bytes + record.len() > MAX_WAITING_BYTES {
            return Place::Full;
        }
        let number = self.next_number();
        // Copied: it would keep alive all that was read with it.
        let record = Bytes::copy_from_slice(record);
        self.entry(key).state = State::Waiting { number, record };
        Place::Waits
    }

    /// Handles for the removal of a record that cannot be used.
    pub(super) fn discard(&mut self, key: &Key) -> Recalls {
        self.entry(key).recalls.replace(Queued::Kept)
    }

    /// The record that has waited longest, if there is a place for it.
    pub(super) fn next_waiting(&mut self) -> Option<(Key, Bytes)> {
        if self.live() >= MAX_SUBSCRIPTIONS {
            return None;
        }
        let waiting = self.entries.iter_mut().filter_map(|(key, entry)| match entry.state {
            State::Waiting { number, .. } => Some((number, key, &mut entry.state)),
            _ => None,
        });
        let (_, key, state) = waiting.min_by_key(|(number, ..)| *number)?;
        match std::mem::replace(state, State::Absent) {
            State::Waiting { record, .. } => Some((key.clone(), record)),
            _ => None,
        }
    }

    /// How many subscriptions of a kind there are.
    pub(super) fn count(&self, kind: StreamKind) -> usize {
        let of_kind = self.entries.iter().filter(|(key, _)| key.kind == kind);
        of_kind.filter(|(_, entry)| entry.state.takes_a_place()).count()
    }

    fn live(&self) -> usize {
        self.entries.values().filter(|entry| entry.state.takes_a_place()).count()
    }

    fn check_room(&self, key: &Key) -> Result<(), TooMany> {
        let is_there = self.entries.get(key).is_some_and(|entry| entry.state.takes_a_place());
        if is_there || self.live() < MAX_SUBSCRIPTIONS { Ok(()) } else { Err(TooMany) }
    }

    fn entry(&mut self, key: &Key) -> &mut Entry<S> {
        self.entries.entry(key.clone()).or_default()
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
