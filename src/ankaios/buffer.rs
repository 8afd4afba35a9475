//! The buffer between the reader and one slow consumer of events or logs.
//!
//! The reader never waits for a consumer. Who consumes too slowly loses the
//! oldest entries and events that wait for it, and is told how many. Its newest
//! message is kept, so that a large one comes through, as long as there are not too
//! many large ones at a time. What says that a log has ended is never lost.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use tokio::sync::Notify;

use super::client::RequestError;
use super::metrics::Metrics;
use crate::proto::ank_base::response::ResponseContent;

/// Messages that wait for one consumer.
const MAX_MESSAGES: usize = 2048;

/// Memory for what waits for all consumers together, in bytes. Beyond it, there is
/// only the newest message of each.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Memory for the newest messages of all consumers, and for those that they are
/// working on, in bytes; the largest one comes on top. After a restart of Ankaios each
/// subscription gets the whole state of its masks at the same time.
const MAX_NEWEST: usize = 64 * 1024 * 1024;

/// What a log entry takes in memory beyond its bytes.
const ENTRY: usize = 256;

/// What an event takes in memory for each of its bytes: it is made of maps.
const EVENT: usize = 4;

/// What a consumer gets.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(super) enum Item {
    /// A message of Ankaios.
    Message(ResponseContent),
    /// So many log entries or events have been thrown away before the next message.
    Dropped(u64),
    /// There will be no more: the session was lost, or the request has failed.
    End(Option<RequestError>),
}

/// What all consumers share.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<Holders>);

#[derive(Debug, Default)]
struct Holders {
    /// Memory that is in use.
    used: AtomicUsize,
    holders: Mutex<Vec<Weak<Shared>>>,
    metrics: Metrics,
}

impl Budget {
    /// A budget that is all there; what has to be thrown away counts in `metrics`.
    pub(super) fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Holders { metrics, ..Holders::default() }))
    }

    fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    fn holders(&self) -> Vec<Arc<Shared>> {
        let holders = self.0.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.iter().filter_map(Weak::upgrade).collect()
    }

    fn keep(&self) {
        if self.used() > MAX_BYTES {
            self.drop_oldest();
        }
        if self.used() > MAX_NEWEST {
            self.drop_newest();
        }
    }

    /// Lets those who hold most lose all they have, but not the one who holds the
    /// largest message, until the others keep the budget.
    fn drop_newest(&self) {
        let mut holders: Vec<_> = self.holders();
        holders.sort_by_cached_key(|holder| holder.newest());
        let Some(largest) = holders.pop() else { return };
        let limit = MAX_NEWEST + largest.newest();
        while self.used() > limit {
            let Some(next) = holders.pop() else { return };
            next.drop_all();
        }
    }

    /// Lets those who hold most lose their oldest, until the budget is kept, or
    /// until nobody has anything to lose. So who is fast loses nothing because
    /// of those who are slow.
    fn drop_oldest(&self) {
        let mut held: Vec<Arc<Shared>> = Vec::new();
        while self.used() > MAX_BYTES {
            if held.is_empty() {
                held = self.holders();
            }
            let size = |holder: &Arc<Shared>| holder.held.load(Ordering::Relaxed);
            let Some(largest) = (0..held.len()).max_by_key(|index| held.get(*index).map(size))
            else {
                return;
            };
            let exhausted = held.get(largest).is_none_or(|holder| !holder.drop_oldest());
            if exhausted {
                held.swap_remove(largest);
                if held.is_empty() {
                    return;
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Waiting>,
    dropped: u64,
    end: Option<Option<RequestError>>,
    /// The consumer has gone.
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    content: ResponseContent,
    /// Memory that it takes, about.
    size: usize,
    arrived: SystemTime,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    /// Memory that is in use here.
    held: AtomicUsize,
    budget: Budget,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes(&self, size: usize) {
        self.held.fetch_add(size, Ordering::Relaxed);
        self.budget.0.used.fetch_add(size, Ordering::Relaxed);
    }

    fn gives_back(&self, size: usize) {
        self.held.fetch_sub(size, Ordering::Relaxed);
        self.budget.0.used.fetch_sub(size, Ordering::Relaxed);
    }

    /// The size of the newest message that may be lost.
    fn newest(&self) -> usize {
        let state = self.state();
        let newest = state.messages.back().filter(|one| entries(&one.content).is_some());
        newest.map_or(0, |message| message.size)
    }

    /// Throws away all that may be lost.
    fn drop_all(&self) {
        let state = &mut *self.state();
        let (dropped, size) = (&mut state.dropped, &mut 0);
        state.messages.retain(|message| {
            let Some(lost) = entries(&message.content) else { return true };
            *dropped += lost;
            *size += message.size;
            self.budget.0.metrics.dropped(&message.content, lost);
            false
        });
        self.gives_back(*size);
        self.changed.notify_one();
    }

    fn drop_oldest(&self) -> bool {
        self.drop_oldest_of(&mut self.state())
    }

    /// Throws away the oldest of what may be lost, but not the newest message,
    /// whatever its size. Returns whether there was any.
    fn drop_oldest_of(&self, state: &mut State) -> bool {
        let older = state.messages.len().saturating_sub(1);
        let mut older = state.messages.iter().take(older);
        let Some(index) = older.position(|message| entries(&message.content).is_some()) else {
            return false;
        };
        if let Some(message) = state.messages.remove(index) {
            self.gives_back(message.size);
            let dropped = entries(&message.content).unwrap_or_default();
            state.dropped += dropped;
            self.budget.0.metrics.dropped(&message.content, dropped);
        }
        true
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.gives_back(self.held.load(Ordering::Relaxed));
    }
}

/// The reader's end.
#[derive(Debug)]
pub(super) struct Producer(Arc<Shared>);

/// The consumer's end.
#[derive(Debug)]
pub(super) struct Consumer {
    shared: Arc<Shared>,
    arrived: SystemTime,
    /// The size of the message that was taken last. It is being worked on until the
    /// next one is asked for.
    in_hand: usize,
}

/// Makes a buffer that shares a budget with others.
pub(super) fn buffer(budget: &Budget) -> (Producer, Consumer) {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        changed: Notify::new(),
        held: AtomicUsize::new(0),
        budget: budget.clone(),
    });
    let mut holders = budget.0.holders.lock().unwrap_or_else(PoisonError::into_inner);
    holders.retain(|holder| holder.strong_count() > 0);
    holders.push(Arc::downgrade(&shared));
    drop(holders);
    (Producer(Arc::clone(&shared)), Consumer { shared, arrived: SystemTime::now(), in_hand: 0 })
}

impl Producer {
    /// Adds a message that had `size` bytes on its way, at the cost of the oldest
    /// ones of those who have most. It has not `arrived` before that time.
    pub(super) fn push(&self, content: ResponseContent, size: usize, arrived: SystemTime) {
        let mut state = self.0.state();
        if state.closed || state.end.is_some() {
            return;
        }
        let size = memory(&content, size);
        self.0.takes(size);
        state.messages.push_back(Waiting { content, size, arrived });
        if state.messages.len() > MAX_MESSAGES && !self.0.drop_oldest_of(&mut state) {
            // Ankaios sends one end for each log, so nothing sane comes here.
            state.end = Some(None);
        }
        drop(state);
        self.0.changed.notify_one();
        self.0.budget.keep();
    }

    /// Says that no more will come.
    pub(super) fn end(self, error: Option<RequestError>) {
        self.0.state().end.get_or_insert(error);
        self.0.changed.notify_one();
    }
}

impl Consumer {
    /// Waits for the next item. Cancelling the future loses nothing.
    pub(super) async fn next(&mut self) -> Item {
        self.shared.gives_back(std::mem::take(&mut self.in_hand));
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            self.shared.changed.notified().await;
        }
    }

    /// When the last message that was taken had come from Ankaios; before the
    /// first, when the buffer was made.
    pub(super) fn arrived(&self) -> SystemTime {
        self.arrived
    }

    /// The next item, if there is one.
    pub(super) fn try_next(&mut self) -> Option<Item> {
        let mut state = self.shared.state();
        if state.dropped > 0 {
            return Some(Item::Dropped(std::mem::take(&mut state.dropped)));
        }
        if let Some(Waiting { content, size, arrived }) = state.messages.pop_front() {
            self.arrived = arrived;
            self.in_hand += size;
            return Some(Item::Message(content));
        }
        state.end.clone().map(Item::End)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        let waiting: usize = state.messages.drain(..).map(|message| message.size).sum();
        self.shared.gives_back(waiting + self.in_hand);
    }
}

/// What a message counts for when it is thrown away; `None` if it must not be.
fn entries(content: &ResponseContent) -> Option<u64> {
    match content {
        ResponseContent::LogEntriesResponse(logs) => Some(logs.log_entries.len() as u64),
        ResponseContent::CompleteStateResponse(_) => Some(1),
        _ => None,
    }
}

/// About how much memory a message takes that had `size` bytes on its way.
fn memory(content: &ResponseContent, size: usize) -> usize {
    match content {
        ResponseContent::LogEntriesResponse(logs) => size + logs.log_entries.len() * ENTRY,
        ResponseContent::CompleteStateResponse(_) => size * EVENT,
        _ => size + ENTRY,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
