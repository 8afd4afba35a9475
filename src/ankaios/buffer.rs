//! The buffer between the reader and one slow consumer of events or logs.
//!
//! The reader never waits for a consumer. Who consumes too slowly loses the
//! oldest of what waits for it, and is told how much.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::client::RequestError;
use crate::proto::ank_base::response::ResponseContent;

/// Messages that wait for one consumer.
const MAX_MESSAGES: usize = 2048;

/// Bytes, as they were sent by Ankaios, that wait for all consumers together.
const MAX_BYTES: usize = 16 * 1024 * 1024;

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

/// Bytes that wait for all consumers together.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<(ResponseContent, usize)>,
    dropped: u64,
    end: Option<Option<RequestError>>,
    /// The consumer has gone.
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    budget: Budget,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self, state: &mut State) -> Option<ResponseContent> {
        let (message, size) = state.messages.pop_front()?;
        self.budget.0.fetch_sub(size, Ordering::Relaxed);
        Some(message)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let bytes = state.messages.iter().map(|(_, size)| size).sum();
        self.budget.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The reader's end.
#[derive(Debug)]
pub(super) struct Producer(Arc<Shared>);

/// The consumer's end.
#[derive(Debug)]
pub(super) struct Consumer(Arc<Shared>);

/// Makes a buffer that shares a budget with others.
pub(super) fn buffer(budget: &Budget) -> (Producer, Consumer) {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        changed: Notify::new(),
        budget: budget.clone(),
    });
    (Producer(Arc::clone(&shared)), Consumer(shared))
}

impl Producer {
    /// Adds a message of `size` bytes, at the cost of the oldest ones.
    pub(super) fn push(&self, message: ResponseContent, size: usize) {
        let mut state = self.0.state();
        if state.closed {
            return;
        }
        let used = self.0.budget.0.fetch_add(size, Ordering::Relaxed) + size;
        state.messages.push_back((message, size));
        let mut surplus = used.saturating_sub(MAX_BYTES);
        // The newest stays, whatever its size.
        while state.messages.len() > 1 && (surplus > 0 || state.messages.len() > MAX_MESSAGES) {
            let oldest = state.messages.front().map_or(0, |(_, size)| *size);
            surplus = surplus.saturating_sub(oldest.max(1));
            let message = self.0.pop(&mut state);
            state.dropped += message.as_ref().map_or(0, entries);
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// Says that no more will come.
    pub(super) fn end(self, error: Option<RequestError>) {
        self.0.state().end = Some(error);
        self.0.changed.notify_one();
    }
}

impl Consumer {
    /// Waits for the next item. Cancelling the future loses nothing.
    pub(super) async fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            self.0.changed.notified().await;
        }
    }

    fn try_next(&self) -> Option<Item> {
        let mut state = self.0.state();
        if state.dropped > 0 {
            return Some(Item::Dropped(std::mem::take(&mut state.dropped)));
        }
        if let Some(message) = self.0.pop(&mut state) {
            return Some(Item::Message(message));
        }
        state.end.clone().map(Item::End)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        while self.0.pop(&mut state).is_some() {}
    }
}

/// What a message counts for when it is thrown away.
fn entries(message: &ResponseContent) -> u64 {
    match message {
        ResponseContent::LogEntriesResponse(logs) => logs.log_entries.len() as u64,
        _ => 1,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::proto::ank_base::{Error, LogEntriesResponse, LogEntry};

    fn message(number: usize) -> ResponseContent {
        ResponseContent::Error(Error { message: number.to_string() })
    }

    #[tokio::test]
    async fn messages_come_in_order_and_then_the_end() {
        let (producer, mut consumer) = buffer(&Budget::default());
        producer.push(message(1), 10);
        producer.push(message(2), 10);
        producer.end(None);
        assert_eq!(consumer.next().await, Item::Message(message(1)));
        assert_eq!(consumer.next().await, Item::Message(message(2)));
        assert_eq!(consumer.next().await, Item::End(None));
        assert_eq!(consumer.next().await, Item::End(None));
    }

    #[tokio::test]
    async fn a_slow_consumer_loses_the_oldest_and_is_told_how_many() {
        let (producer, mut consumer) = buffer(&Budget::default());
        (0..MAX_MESSAGES + 5).for_each(|number| producer.push(message(number), 1));
        assert_eq!(consumer.next().await, Item::Dropped(5));
        assert_eq!(consumer.next().await, Item::Message(message(5)));
        let logs = ResponseContent::LogEntriesResponse(LogEntriesResponse {
            log_entries: vec![LogEntry::default(); 3],
        });
        (0..MAX_MESSAGES + 1).for_each(|_| producer.push(logs.clone(), 1));
        assert!(matches!(consumer.next().await, Item::Dropped(2049..)));
    }

    #[tokio::test]
    async fn all_consumers_share_one_budget() {
        let budget = Budget::default();
        let (first, consumer) = buffer(&budget);
        let (second, mut other) = buffer(&budget);
        first.push(message(1), MAX_BYTES);
        second.push(message(2), 100);
        second.push(message(3), 100);
        assert_eq!(other.next().await, Item::Dropped(1));
        assert_eq!(other.next().await, Item::Message(message(3)));
        drop(consumer);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
        first.push(message(4), 100);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn one_large_message_is_not_thrown_away() {
        let (producer, mut consumer) = buffer(&Budget::default());
        producer.push(message(1), 2 * MAX_BYTES);
        assert_eq!(consumer.next().await, Item::Message(message(1)));
    }
}
