//! The registry of subscriptions. Pure: no I/O and no clock.
//!
//! Each key has one entry with its whole state: the requests for it that are in progress, its
//! stream or the record that waits for a slot, the recall handles of its queued messages, and
//! unsubscribes that arrived before its record.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fleet_contract::topics::StreamKind;
use mqtt_session::Recall;
use service_kit::clock::Deadline;
use tokio::sync::oneshot;

use super::key::SubscriptionKey;
use super::recalls::{QueuedMessages, Recalls};

/// Maximum number of subscriptions at the same time: the number of slots.
pub(super) const MAX_SUBSCRIPTIONS: usize = 256;

/// Maximum number of records that wait for a slot.
const MAX_WAITING: usize = 256;

/// Maximum size of all records that wait for a slot, in bytes.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// Maximum number of keys with early unsubscribes; the oldest are forgotten.
const MAX_EARLY: usize = 256;

/// Minimum number of entries before unused ones are removed.
const MIN_PRUNED: usize = 64;

/// The error that there are [`MAX_SUBSCRIPTIONS`] subscriptions already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// All subscriptions of a vehicle. `S` is a stream; dropping it ends it.
#[derive(Debug)]
pub(super) struct Registry<S> {
    entries: BTreeMap<SubscriptionKey, SubscriptionEntry<S>>,
    /// The number of entries at which unused ones are removed.
    prune_at: usize,
    /// Numbers requests, streams, waiting records and early unsubscribes.
    last_number: u64,
}

/// The state of one key.
#[derive(Debug)]
struct SubscriptionEntry<S> {
    /// Requests for this key in progress, in the order of arrival.
    requests: VecDeque<QueuedRequest>,
    state: EntryState<S>,
    recalls: Recalls,
    /// Unsubscribes that arrived before the record of the subscription.
    early: Option<EarlyUnsubscribes>,
}

/// A request that waits for its turn or has it.
#[derive(Debug)]
struct QueuedRequest {
    number: u64,
    /// Signals to the request that all earlier ones are done. `None` once it was signalled.
    turn: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
enum EntryState<S> {
    /// There is no subscription.
    Absent,
    /// It has a slot; the stream starts soon.
    Reserved,
    /// Its messages are being published.
    Live { number: u64, stream: S },
    /// The record of a subscription for which there is no slot.
    Waiting { number: u64, record: WaitingRecord },
}

/// A record that waits for a slot.
#[derive(Debug)]
pub(super) struct WaitingRecord {
    pub(super) payload: Bytes,
    /// When it expires at the broker, if the broker has said so.
    pub(super) expires: Option<Deadline>,
}

/// The unsubscribes of one key that arrived before its record.
#[derive(Debug)]
struct EarlyUnsubscribes {
    number: u64,
    /// Unsubscribes that wait for the record or have given up.
    waiting: Vec<oneshot::Sender<()>>,
}

/// What the registry knows about a record that the broker has retained.
#[derive(Debug)]
pub(super) enum RecordStatus {
    /// The subscription exists already.
    Known,
    /// An unsubscribe waits for it and ends the subscription.
    Awaited,
    /// It was unsubscribed; its end has to be published with this handle.
    Unsubscribed(Recall),
    /// It has to be resumed.
    New,
}

/// Whether there is a slot for a subscription that is resumed from its record.
#[derive(Debug)]
pub(super) enum Slot {
    /// A slot is reserved; publish with these handles.
    Reserved(Recalls),
    /// There is no slot; the record waits for one.
    Waiting,
    /// There is no slot, and no room for the record either.
    Full,
}

impl<S> Default for Registry<S> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), prune_at: MIN_PRUNED, last_number: 0 }
    }
}

impl<S> Default for SubscriptionEntry<S> {
    fn default() -> Self {
        let (requests, state) = (VecDeque::new(), EntryState::Absent);
        Self { requests, state, recalls: Recalls::default(), early: None }
    }
}

impl<S> EntryState<S> {
    fn has_slot(&self) -> bool {
        matches!(self, Self::Reserved | Self::Live { .. })
    }
}

impl<S> SubscriptionEntry<S> {
    fn is_unused(&self) -> bool {
        self.requests.is_empty()
            && matches!(self.state, EntryState::Absent)
            && self.early.is_none()
            && self.recalls.are_unused()
    }
}

impl<S> Registry<S> {
    /// Adds a request for a subscription. `turn` is signalled when all earlier requests for the
    /// same key are done. Returns the number of the request.
    ///
    /// # Errors
    /// There is no slot for one more subscription. Never if the request does not subscribe.
    pub(super) fn enqueue(
        &mut self,
        key: &SubscriptionKey,
        subscribes: bool,
        turn: oneshot::Sender<()>,
    ) -> Result<u64, TooMany> {
        if subscribes {
            self.check_slot(key)?;
        }
        let number = self.next_number();
        let requests = &mut self.entry(key).requests;
        requests.push_back(QueuedRequest { number, turn: Some(turn) });
        if requests.len() == 1 {
            self.grant_turn(key);
        }
        Ok(number)
    }

    /// Removes a request that is done or was given up. A slot that it has reserved and not used
    /// becomes free.
    pub(super) fn finish(&mut self, key: &SubscriptionKey, request: u64) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let is_first = entry.requests.front().is_some_and(|first| first.number == request);
        entry.requests.retain(|other| other.number != request);
        if is_first {
            if matches!(entry.state, EntryState::Reserved) {
                entry.state = EntryState::Absent;
            }
            self.grant_turn(key);
        }
    }

    fn grant_turn(&mut self, key: &SubscriptionKey) {
        let entry = self.entries.get_mut(key);
        let first = entry.and_then(|entry| entry.requests.front_mut());
        if let Some(turn) = first.and_then(|first| first.turn.take()) {
            // A request without a receiver was given up; it is removed soon.
            let _ = turn.send(());
        }
    }

    /// Reserves a slot for the request that has its turn. A subscription of the same key is
    /// replaced: its stream ends, and `queued` says what to do with its queued messages.
    ///
    /// # Errors
    /// There is no slot.
    pub(super) fn reserve(
        &mut self,
        key: &SubscriptionKey,
        queued: QueuedMessages,
    ) -> Result<Recalls, TooMany> {
        self.check_slot(key)?;
        let entry = self.entry(key);
        entry.state = EntryState::Reserved;
        entry.early = None;
        Ok(entry.recalls.replace(queued))
    }

    /// Starts the stream of a subscription with a slot. `stream` gets its number, which
    /// [`Registry::stream_ended`] takes.
    pub(super) fn start(&mut self, key: &SubscriptionKey, stream: impl FnOnce(u64) -> S) {
        let number = self.next_number();
        self.entry(key).state = EntryState::Live { number, stream: stream(number) };
    }

    /// The stream of a subscription.
    pub(super) fn stream(&self, key: &SubscriptionKey) -> Option<&S> {
        match &self.entries.get(key)?.state {
            EntryState::Live { stream, .. } => Some(stream),
            _ => None,
        }
    }

    /// Ends a subscription. Returns the handle with which its end has to be published; `None` if
    /// there is no such subscription.
    pub(super) fn remove(&mut self, key: &SubscriptionKey) -> Option<Recall> {
        let entry = self.entries.get_mut(key)?;
        if matches!(entry.state, EntryState::Absent) {
            return None;
        }
        entry.state = EntryState::Absent;
        Some(entry.recalls.replace(QueuedMessages::Recall).records)
    }

    /// Ends the subscription of a record that an unsubscribe has waited for. Returns the handle
    /// with which its end has to be published.
    pub(super) fn end_awaited(&mut self, key: &SubscriptionKey) -> Recall {
        self.entry(key).recalls.replace(QueuedMessages::Recall).records
    }

    /// The handle with which to publish the end of a stream that has ended. `None` if the stream
    /// was replaced or removed in the meantime. It keeps its slot until
    /// [`Registry::end_published`].
    pub(super) fn stream_ended(&self, key: &SubscriptionKey, number: u64) -> Option<Recall> {
        let entry = self.entries.get(key)?;
        match entry.state {
            EntryState::Live { number: live, .. } if live == number => {
                Some(entry.recalls.records.clone())
            }
            _ => None,
        }
    }

    /// Frees the slot of a stream whose end was published.
    pub(super) fn end_published(&mut self, key: &SubscriptionKey, number: u64) {
        if self.stream_ended(key, number).is_some() {
            self.entry(key).state = EntryState::Absent;
        }
    }

    /// Remembers an unsubscribe without a subscription. `found` is signalled if the record arrives
    /// while the unsubscribe waits for it.
    pub(super) fn remember_unsubscribe(
        &mut self,
        key: &SubscriptionKey,
        found: oneshot::Sender<()>,
    ) {
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

    /// Looks up the entry of a retained record that has arrived.
    pub(super) fn record_found(&mut self, key: &SubscriptionKey) -> RecordStatus {
        let Some(entry) = self.entries.get_mut(key) else { return RecordStatus::New };
        // The subscription has a newer record.
        if entry.state.has_slot() {
            return RecordStatus::Known;
        }
        let Some(early) = entry.early.take() else { return RecordStatus::New };
        let signalled = early.waiting.into_iter().map(|waiting| waiting.send(()).is_ok());
        if signalled.fold(false, |any, signalled| any | signalled) {
            RecordStatus::Awaited
        } else {
            RecordStatus::Unsubscribed(entry.recalls.replace(QueuedMessages::Recall).records)
        }
    }

    /// Reserves a slot for the subscription of a retained record, or lets the record wait.
    /// `expires` is when it expires at the broker.
    pub(super) fn resume(
        &mut self,
        key: &SubscriptionKey,
        record: &[u8],
        expires: Option<Deadline>,
    ) -> Slot {
        if self.used_slots() < MAX_SUBSCRIPTIONS {
            let entry = self.entry(key);
            entry.state = EntryState::Reserved;
            return Slot::Reserved(entry.recalls.replace(QueuedMessages::Keep));
        }
        // The record is valid and somebody may rely on it, so it waits.
        if let Some(entry) = self.entries.get_mut(key) {
            entry.state = EntryState::Absent;
        }
        let waiting = self.entries.values().filter_map(|entry| match &entry.state {
            EntryState::Waiting { record, .. } => Some(record.payload.len()),
            _ => None,
        });
        let (count, bytes) = waiting.fold((0, 0), |(count, all), size| (count + 1, all + size));
        if count >= MAX_WAITING || bytes + record.len() > MAX_WAITING_BYTES {
            return Slot::Full;
        }
        let number = self.next_number();
        // A copy, because the record would keep alive the whole buffer that it was read into.
        let record = WaitingRecord { payload: Bytes::copy_from_slice(record), expires };
        self.entry(key).state = EntryState::Waiting { number, record };
        Slot::Waiting
    }

    /// Handles to publish the removal of a record that cannot be used.
    pub(super) fn discard(&mut self, key: &SubscriptionKey) -> Recalls {
        self.entry(key).recalls.replace(QueuedMessages::Keep)
    }

    /// Takes the record that has waited longest, if there is a slot for it.
    pub(super) fn next_waiting(&mut self) -> Option<(SubscriptionKey, WaitingRecord)> {
        if self.used_slots() >= MAX_SUBSCRIPTIONS {
            return None;
        }
        let waiting = self.entries.iter_mut().filter_map(|(key, entry)| match entry.state {
            EntryState::Waiting { number, .. } => Some((number, key, &mut entry.state)),
            _ => None,
        });
        let (_, key, state) = waiting.min_by_key(|(number, ..)| *number)?;
        match std::mem::replace(state, EntryState::Absent) {
            EntryState::Waiting { record, .. } => Some((key.clone(), record)),
            _ => None,
        }
    }

    /// The number of subscriptions of a kind.
    pub(super) fn count(&self, kind: StreamKind) -> usize {
        let of_kind = self.entries.iter().filter(|(key, _)| key.kind == kind);
        of_kind.filter(|(_, entry)| entry.state.has_slot()).count()
    }

    fn used_slots(&self) -> usize {
        self.entries.values().filter(|entry| entry.state.has_slot()).count()
    }

    fn check_slot(&self, key: &SubscriptionKey) -> Result<(), TooMany> {
        let is_there = self.entries.get(key).is_some_and(|entry| entry.state.has_slot());
        if is_there || self.used_slots() < MAX_SUBSCRIPTIONS { Ok(()) } else { Err(TooMany) }
    }

    /// The entry of a key, which may be new. Records can create entries without end, so unused
    /// ones are removed whenever their number may have doubled.
    fn entry(&mut self, key: &SubscriptionKey) -> &mut SubscriptionEntry<S> {
        if self.entries.len() >= self.prune_at {
            self.entries.retain(|other, entry| other == key || !entry.is_unused());
            self.prune_at = MIN_PRUNED.max(2 * self.entries.len());
        }
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
