//! Which requests wait for being written, and which for an answer.

mod table;

use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::buffer::Producer;
use super::client::RequestError;
use super::held::Held;
use crate::proto::ank_base::response::ResponseContent;
use crate::random;
pub(super) use table::Kind;
use table::{Answers, Request, Table};

/// What a request ends with, and its share of the memory for answers.
pub(super) type Answer = Result<(ResponseContent, Held), RequestError>;

/// Requests that may wait for being written. Beyond that, whoever has a further
/// one waits: more than the operations and streams of a connector ever have.
const MAX_UNWRITTEN: usize = 1024;

/// What has become of a request when its time is over.
#[derive(Debug)]
pub(super) enum Expired {
    /// Ankaios has got it in this session, and has not answered.
    Unanswered,
    /// This keeps it from being answered.
    Unavailable(RequestError),
    /// It has just ended: its answer is on the way.
    Ended,
}

/// The requests without an answer, shared by client, link and reader.
#[derive(Debug)]
pub(super) struct Pending {
    /// In front of every request id: answers to an earlier process of the
    /// connector, which the same session may still deliver, must not be taken
    /// for ours.
    prefix: String,
    next: AtomicU64,
    table: Mutex<Table>,
    /// There may be something to write.
    unwritten: Notify,
    /// Places for what is to be written.
    places: Arc<Semaphore>,
    /// Bytes of the answers that are being worked on.
    held: Arc<AtomicUsize>,
    /// A request has gone unanswered past its timeout, or probes have, and nothing
    /// has been answered since.
    overdue: AtomicBool,
    /// When Ankaios has answered for the last time.
    heard: Mutex<Instant>,
    /// When the first request since then was written.
    asked: Mutex<Option<Instant>>,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            prefix: format!("{}-", random::hex()),
            next: AtomicU64::new(0),
            table: Mutex::default(),
            unwritten: Notify::new(),
            places: Arc::new(Semaphore::new(MAX_UNWRITTEN)),
            held: Arc::default(),
            overdue: AtomicBool::new(false),
            heard: Mutex::new(Instant::now()),
            asked: Mutex::default(),
        }
    }

    /// What every request id begins with. It is random, so that it is nowhere
    /// else in what Ankaios sends.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A request id that has not been used before.
    pub(super) fn next_id(&self) -> (u64, String) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number, format!("{}{number}", self.prefix))
    }

    /// The number in a request id of ours.
    pub(super) fn number(&self, request_id: &str) -> Option<u64> {
        request_id.strip_prefix(&self.prefix)?.parse().ok()
    }

    /// Waits for a place for one more request. Cancelling the future takes none.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Adds a request, with the frame that carries it.
    pub(super) fn add(
        &self,
        number: u64,
        frame: Bytes,
        kind: Kind,
        place: Option<OwnedSemaphorePermit>,
    ) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        self.insert(number, frame, kind, Answers::One(answer), place);
        receiver
    }

    /// Adds a request with many answers.
    pub(super) fn add_stream(
        &self,
        number: u64,
        frame: Bytes,
        producer: Producer,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let answer = Answers::Many { producer, stands: false };
        self.insert(number, frame, Kind::Read, answer, place);
    }

    fn insert(
        &self,
        number: u64,
        frame: Bytes,
        kind: Kind,
        answer: Answers,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let mut table = self.table();
        table.requests.insert(number, Request::new(frame, kind, answer, place));
        table.unwritten.insert(number);
        drop(table);
        self.unwritten.notify_one();
    }

    /// Nobody waits for the answers to `stream` any more. If Ankaios has begun
    /// to give them, `cancel` is written to end them; its own answer does not
    /// matter.
    pub(super) fn cancel(&self, stream: u64, cancel: Bytes) {
        let Some(Request { written: Some(_), .. }) = self.table().remove(stream) else { return };
        let (number, _) = self.next_id();
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => self.insert(number, cancel, Kind::Read, Answers::None, Some(place)),
            // Ankaios goes on sending what nobody waits for, until the session ends.
            Err(_) => tracing::debug!("a stream of Ankaios cannot be cancelled"),
        }
    }

    /// Whether events or logs are expected.
    pub(super) fn has_streams(&self) -> bool {
        let is_stream = |request: &Request| matches!(request.answer, Answers::Many { .. });
        self.table().requests.values().any(is_stream)
    }

    /// Waits until there is something to write.
    pub(super) async fn wait_unwritten(&self) {
        while self.table().unwritten.is_empty() {
            self.unwritten.notified().await;
        }
    }

    /// The request that is to be written next, and its frame.
    pub(super) fn first_unwritten(&self) -> Option<(u64, Bytes)> {
        let table = self.table();
        let number = table.unwritten.first()?;
        table.requests.get(number).map(|request| (*number, request.frame.clone()))
    }

    /// Notes that Ankaios gets the request now. `false` if it has ended in the meantime, and
    /// must not be written.
    pub(super) fn written(&self, number: u64) -> bool {
        let mut table = self.table();
        let now = Instant::now();
        if !table.written(number, now) {
            return false;
        }
        if matches!(table.requests.get(&number), Some(Request { answer: Answers::None, .. })) {
            table.requests.remove(&number);
        } else {
            self.asked().get_or_insert(now);
        }
        true
    }

    /// Whether Ankaios has got the request in this session, without answering.
    pub(super) fn is_unanswered(&self, number: u64) -> bool {
        self.table().requests.get(&number).is_some_and(Request::is_unanswered)
    }

    /// Nobody waits for the request any more.
    pub(super) fn remove(&self, number: u64) {
        self.table().remove(number);
    }

    /// Nobody waits for the request any more: its time is over, in view of this `reason` of
    /// the link.
    pub(super) fn expire(&self, number: u64, reason: &str) -> Expired {
        match self.table().remove(number) {
            Some(request) if request.is_unanswered() => Expired::Unanswered,
            Some(request) => Expired::Unavailable(request.unavailable(reason)),
            None => Expired::Ended,
        }
    }

    /// Ends a request without an answer of Ankaios.
    pub(super) fn fail(&self, number: u64, error: RequestError) {
        let request = self.table().remove(number);
        if let Some(request) = request {
            request.fail(error);
        }
    }

    /// Ends all requests without an answer of Ankaios, for this reason.
    pub(super) fn fail_all(&self, reason: &str) {
        let mut table = self.table();
        table.unwritten.clear();
        let requests = std::mem::take(&mut table.requests);
        drop(table);
        for (_, request) in requests {
            let error = request.unavailable(reason);
            request.fail(error);
        }
    }

    /// Delivers an answer of `size` bytes, which has not `arrived` before that time.
    /// Returns `false` if nobody waits for it: it came too late, twice, or belongs to an
    /// earlier process.
    pub(super) fn answer(
        &self,
        request_id: &str,
        content: ResponseContent,
        size: usize,
        arrived: SystemTime,
    ) -> bool {
        let Some(number) = self.number(request_id) else { return false };
        let mut table = self.table();
        let Table { requests, unwritten, updated } = &mut *table;
        let Entry::Occupied(mut entry) = requests.entry(number) else { return false };
        let request = entry.get_mut();
        if matches!(request.answer, Answers::GivenUp) {
            return false;
        }
        if request.undone {
            return true;
        }
        // Also what is to be written once more may still be answered.
        unwritten.remove(&number);
        if let Answers::Many { producer, stands } = &mut request.answer {
            *stands = true;
            // Also the session in which it is to be written once more knows of it.
            request.written.get_or_insert_with(Instant::now);
            producer.push(content, size, arrived);
            return true;
        }
        let request = entry.remove();
        if request.kind == Kind::Update {
            *updated = (*updated).max(Some(number));
        }
        // The answer may be one to the former session, which has been given up.
        let overtaken = table.take_overtaken();
        drop(table);
        overtaken.into_iter().for_each(Request::fail_as_overtaken);
        match request.answer {
            Answers::One(answer) => {
                let held = Held::new(size, &self.held).ok_or_else(|| {
                    RequestError::Unavailable(
                        "too many large answers are being worked on; ask again, for less at a time"
                            .into(),
                    )
                });
                answer.send(held.map(|held| (content, held))).is_ok()
            }
            Answers::Many { .. } | Answers::GivenUp | Answers::None => false,
        }
    }

    /// Some of what the session has sent was lost, so all streams must be made again.
    /// Ankaios goes on with them until they are cancelled.
    pub(super) fn give_up_streams(&self) {
        let mut ended = Vec::new();
        for request in self.table().requests.values_mut() {
            if matches!(request.answer, Answers::Many { stands: true, .. }) {
                request.frame = Bytes::new();
                ended.push(std::mem::replace(&mut request.answer, Answers::GivenUp));
            }
        }
        for stream in ended {
            if let Answers::Many { producer, .. } = stream {
                producer.end(None);
            }
        }
    }

    /// Begins a new session, which knows of no streams; then as
    /// [`write_again`](Self::write_again).
    pub(super) fn begin_session(&self) -> usize {
        self.give_up_streams();
        let mut table = self.table();
        let Table { requests, unwritten, .. } = &mut *table;
        requests.retain(|number, request| {
            let keep = !matches!(request.answer, Answers::GivenUp | Answers::None);
            if !keep {
                unwritten.remove(number);
            }
            keep
        });
        drop(table);
        self.write_again()
    }

    /// What was not answered is to be written again, in order of arrival and before
    /// anything newer. Returns how many requests that are.
    ///
    /// Reading twice does no harm, nor does an update, which names in full what
    /// it sets. But an update that comes again after a later one could undo that:
    /// it ends with an error.
    pub(super) fn write_again(&self) -> usize {
        let mut table = self.table();
        let Table { requests, unwritten, .. } = &mut *table;
        let mut again = 0_usize;
        for (number, request) in requests.iter_mut().filter(|(_, request)| request.is_unanswered())
        {
            request.written = None;
            unwritten.insert(*number);
            again += 1;
        }
        let overtaken = table.take_overtaken();
        drop(table);
        let again = again.saturating_sub(overtaken.len());
        overtaken.into_iter().for_each(Request::fail_as_overtaken);
        self.unwritten.notify_one();
        again
    }

    /// Notes that Ankaios has answered something. Returns whether something was
    /// overdue.
    pub(super) fn heard(&self) -> bool {
        // Held for both: whatever is overdue has a time since when.
        let mut asked = self.asked();
        *asked = None;
        *self.last_heard() = Instant::now();
        self.overdue.swap(false, Ordering::Relaxed)
    }

    /// When Ankaios has answered for the last time.
    pub(super) fn heard_at(&self) -> Instant {
        *self.last_heard()
    }

    /// Since when Ankaios has had a request without answering anything, also if
    /// that has been given up. `None` if it has no request.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        if self.is_overdue() {
            return *self.asked();
        }
        let table = self.table();
        let unanswered = table.requests.values().filter(|request| request.is_unanswered());
        let oldest = unanswered.filter_map(|request| request.written).min()?;
        Some(oldest.max(*self.last_heard()))
    }

    /// Notes that a request has gone unanswered past its timeout, or that probes have.
    pub(super) fn set_overdue(&self) {
        // Other requests may have been answered in the meantime. The silence then begins
        // now, so that a probe follows, whose answer ends the suspicion.
        let mut asked = self.asked();
        asked.get_or_insert_with(Instant::now);
        self.overdue.store(true, Ordering::Relaxed);
    }

    /// Whether a request has gone unanswered past its timeout, and nothing has
    /// been answered since.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    fn asked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_heard(&self) -> MutexGuard<'_, Instant> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code that holds the lock can panic half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
