//! The buffers between the reader and the consumers of events and logs.
//!
//! The reader never waits for a consumer. A consumer that is too slow loses its oldest log
//! entries and events, and is told how many. Its newest message is kept, so that a large one
//! gets through, unless too many buffers hold large ones at the same time. The end of a log is
//! never dropped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ankaios_model::proto::ank_base::response::ResponseContent;
use service_kit::clock::Moment;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::error::RequestError;
use super::metrics::LinkMetrics;

/// Limit for the messages in one buffer.
const MAX_MESSAGES: usize = 2048;

/// Memory for the messages in all buffers together, in bytes. Above it, each buffer keeps only
/// its newest message.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Memory for the newest messages in all buffers and for those in progress, in bytes. The
/// largest one is allowed on top. After a restart of Ankaios, all subscriptions get the whole
/// state of their masks at the same time.
const MAX_NEWEST: usize = 64 * 1024 * 1024;

/// How long a stream that waits for memory sleeps before it looks again.
const ROOM_CHECK: Duration = Duration::from_secs(1);

/// Memory of a log entry beyond its encoded size, in bytes.
const ENTRY: usize = 256;

/// Memory of an event for each byte of its encoded size. An event consists of maps.
const EVENT: usize = 4;

/// What a consumer gets.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "it is matched at once, not stored")]
pub(super) enum Item {
    /// A message from Ankaios.
    Message(ResponseContent),
    /// This number of log entries or events was dropped before the next message.
    Dropped(u64),
    /// There are no more messages: the session was lost, or the request has failed.
    End(Option<RequestError>),
}

/// All buffers of one client, with the memory limits that they share. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A lock, because the reader and the consumers run in different tasks. One for all
    /// buffers, because keeping the limits means to drop from any of them. It is held for one
    /// operation on them, never across an await.
    state: Mutex<BufferTable>,
    /// Notified when a consumer has ended the work on a message.
    freed: Notify,
    metrics: LinkMetrics,
}

#[derive(Debug, Default)]
struct BufferTable {
    /// Memory of all buffers, in bytes.
    used: usize,
    next_id: u64,
    /// The buffers that have a consumer.
    buffers: BTreeMap<u64, Buffer>,
}

impl Buffers {
    /// No buffers yet; the metrics count the entries and events that are dropped.
    pub(super) fn new(metrics: LinkMetrics) -> Self {
        Self(Arc::new(Shared { metrics, ..Shared::default() }))
    }

    /// Adds a buffer, which lives as long as its consumer.
    pub(super) fn add(&self) -> (Producer, Consumer) {
        let mut state = self.0.state();
        let id = state.next_id;
        state.next_id += 1;
        state.buffers.insert(id, Buffer::default());
        drop(state);
        let changed = Arc::new(Notify::new());
        let producer = Producer { buffers: Arc::clone(&self.0), id, changed: Arc::clone(&changed) };
        let buffers = Arc::clone(&self.0);
        (producer, Consumer { buffers, id, changed, arrived: Moment::now() })
    }

    /// Waits until there is memory for large messages. A stream that opens before would only have
    /// its first message dropped.
    pub(super) async fn room(&self) {
        while self.0.state().used > MAX_NEWEST {
            // One message may make room for several streams, but wakes only one of them. After
            // the timeout the others look, too.
            let _ = timeout(ROOM_CHECK, self.0.freed.notified()).await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, BufferTable> {
        // No code that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BufferTable {
    fn enforce_limits(&mut self, metrics: &LinkMetrics) {
        if self.used > MAX_BYTES {
            self.drop_oldest(metrics);
        }
        if self.used > MAX_NEWEST {
            self.drop_newest(metrics);
        }
    }

    /// Drops the oldest messages of the largest buffers until the limit is kept, or until each
    /// buffer has only its newest message. So a fast consumer loses nothing because of a slow
    /// one.
    fn drop_oldest(&mut self, metrics: &LinkMetrics) {
        // Without the filter, this takes 50 µs for 300 buffers with one large message each.
        let with_older = |buffer: &&mut Buffer| buffer.messages.len() > 1;
        let mut buffers: Vec<_> = self.buffers.values_mut().filter(with_older).collect();
        while self.used > MAX_BYTES {
            let sizes = buffers.iter().map(|buffer| buffer.used).enumerate();
            let Some((largest, _)) = sizes.max_by_key(|(_, used)| *used) else { return };
            match buffers.get_mut(largest).and_then(|buffer| buffer.drop_oldest(metrics)) {
                Some(size) => self.used -= size,
                None => drop(buffers.swap_remove(largest)),
            }
        }
    }

    /// Drops all messages of the buffers with the largest newest messages until the limit is
    /// kept. The one with the very largest keeps its own, unless the messages in progress, which
    /// cannot be dropped, are above the limit without it.
    fn drop_newest(&mut self, metrics: &LinkMetrics) {
        let mut buffers: Vec<_> = self.buffers.values_mut().collect();
        buffers.sort_by_key(|buffer| buffer.newest());
        let Some(largest) = buffers.pop() else { return };
        let limit = MAX_NEWEST + largest.newest();
        while self.used > limit {
            let next = buffers.pop().filter(|next| next.newest() > 0);
            let Some(next) = next else {
                self.used -= largest.drop_all(metrics);
                return;
            };
            self.used -= next.drop_all(metrics);
        }
    }
}

/// The messages for one consumer.
#[derive(Debug, Default)]
struct Buffer {
    messages: VecDeque<BufferedMessage>,
    /// Memory of `messages` and of the message in progress, in bytes.
    used: usize,
    /// Memory of the message that was taken last. The consumer works on it until it asks for
    /// the next one.
    in_progress: usize,
    /// Log entries and events that were dropped since the consumer was last told.
    dropped: u64,
    end: Option<Option<RequestError>>,
}

#[derive(Debug)]
struct BufferedMessage {
    content: ResponseContent,
    /// Estimated memory, in bytes.
    size: usize,
    /// It did not arrive before this time.
    arrived: Moment,
}

impl Buffer {
    fn push(&mut self, message: BufferedMessage) {
        self.used += message.size;
        self.messages.push_back(message);
    }

    /// Memory of the newest message, if it may be dropped.
    fn newest(&self) -> usize {
        let newest = self.messages.back().filter(|message| entries(&message.content).is_some());
        newest.map_or(0, |message| message.size)
    }

    /// Drops the oldest message that may be dropped, but not the newest message of all.
    /// Returns the memory that this frees, or `None` if there is no such message.
    fn drop_oldest(&mut self, metrics: &LinkMetrics) -> Option<usize> {
        let older = self.messages.len().saturating_sub(1);
        let mut older = self.messages.iter().take(older);
        let index = older.position(|message| entries(&message.content).is_some())?;
        let message = self.messages.remove(index)?;
        let dropped = entries(&message.content).unwrap_or_default();
        metrics.dropped(&message.content, dropped);
        self.dropped += dropped;
        self.used -= message.size;
        Some(message.size)
    }

    /// Drops all messages that may be dropped. Returns the memory that this frees.
    fn drop_all(&mut self, metrics: &LinkMetrics) -> usize {
        let mut size = 0;
        self.messages.retain(|message| {
            let Some(dropped) = entries(&message.content) else { return true };
            metrics.dropped(&message.content, dropped);
            self.dropped += dropped;
            size += message.size;
            false
        });
        self.used -= size;
        size
    }

    /// Ends the work on the message that was taken last. Returns the memory that this frees.
    fn release(&mut self) -> usize {
        let size = std::mem::take(&mut self.in_progress);
        self.used -= size;
        size
    }
}

/// The reader's end of a buffer.
#[derive(Debug)]
pub(super) struct Producer {
    buffers: Arc<Shared>,
    id: u64,
    changed: Arc<Notify>,
}

impl Producer {
    /// Adds a message of `size` bytes as encoded, which did not arrive before `arrived`. To keep
    /// the limits, this drops the oldest messages of the largest buffers.
    pub(super) fn push(&self, content: ResponseContent, size: usize, arrived: Moment) {
        let metrics = &self.buffers.metrics;
        let mut guard = self.buffers.state();
        let state = &mut *guard;
        let Some(buffer) = state.buffers.get_mut(&self.id) else { return };
        if buffer.end.is_some() {
            return;
        }
        let size = memory(&content, size);
        buffer.push(BufferedMessage { content, size, arrived });
        state.used += size;
        if buffer.messages.len() > MAX_MESSAGES {
            match buffer.drop_oldest(metrics) {
                Some(size) => state.used -= size,
                // Ankaios sends one end for each log, so this many of them are a fault.
                None => buffer.end = Some(None),
            }
        }
        state.enforce_limits(metrics);
        drop(guard);
        self.changed.notify_one();
    }

    /// Ends the buffer: the consumer gets what is in it, and then the end.
    pub(super) fn end(self, error: Option<RequestError>) {
        if let Some(buffer) = self.buffers.state().buffers.get_mut(&self.id) {
            buffer.end.get_or_insert(error);
        }
        self.changed.notify_one();
    }
}

/// The consumer's end of a buffer. Dropping it removes the buffer.
#[derive(Debug)]
pub(super) struct Consumer {
    buffers: Arc<Shared>,
    id: u64,
    changed: Arc<Notify>,
    arrived: Moment,
}

impl Consumer {
    /// Waits for the next item, and ends the work on the last one. Dropping the future loses
    /// nothing.
    pub(super) async fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            self.changed.notified().await;
        }
    }

    /// The time before which the message that was taken last did not arrive; before the first
    /// one, the time at which the buffer was made.
    pub(super) fn arrived(&self) -> Moment {
        self.arrived
    }

    /// The next item, if there is one. Ends the work on the last one.
    pub(super) fn try_next(&mut self) -> Option<Item> {
        let mut guard = self.buffers.state();
        let state = &mut *guard;
        let buffer = state.buffers.get_mut(&self.id)?;
        let released = buffer.release();
        state.used -= released;
        if released > 0 {
            self.buffers.freed.notify_one();
        }
        if buffer.dropped > 0 {
            return Some(Item::Dropped(std::mem::take(&mut buffer.dropped)));
        }
        if let Some(BufferedMessage { content, size, arrived }) = buffer.messages.pop_front() {
            buffer.in_progress = size;
            self.arrived = arrived;
            return Some(Item::Message(content));
        }
        buffer.end.clone().map(Item::End)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.buffers.state();
        if let Some(buffer) = state.buffers.remove(&self.id) {
            state.used -= buffer.used;
            self.buffers.freed.notify_one();
            // Its messages are freed without the lock.
            drop(state);
        }
    }
}

/// The number of log entries or events in a message; `None` if it must not be dropped.
fn entries(content: &ResponseContent) -> Option<u64> {
    match content {
        ResponseContent::LogEntriesResponse(logs) => Some(logs.log_entries.len() as u64),
        ResponseContent::CompleteStateResponse(_) => Some(1),
        _ => None,
    }
}

/// Estimates the memory of a message of `size` bytes as encoded.
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
