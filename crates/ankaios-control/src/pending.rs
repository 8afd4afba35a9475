//! The requests that have no answer yet.

mod lost_answers;
mod silence;
mod table;

use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ankaios_model::proto::ank_base::response::ResponseContent;
use bytes::Bytes;
use lost_answers::ANSWER_LOST;
use service_kit::clock::Moment;
use service_kit::random;
pub(super) use table::{Answer, Kind, Subject};
use table::{Recipient, Request, Table};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::answer_memory::AnswerMemory;
use super::buffer::Producer;
use super::error::RequestError;

/// Limit for the requests that wait to be written. Beyond it, callers wait for a slot.
const MAX_UNWRITTEN: usize = 1024;

/// How many times a request is repeated in one session.
const MAX_REPETITIONS: u8 = 2;

/// The outcome of a request whose timeout has passed.
#[derive(Debug)]
pub(super) enum Expired {
    /// Ankaios has received it in this session and has not answered.
    Unanswered,
    /// It cannot be answered, for this reason.
    Unavailable(RequestError),
    /// It was completed at the same moment; its caller gets the answer.
    Completed,
}

/// The requests without an answer. The client adds them, the link writes them, and the reader
/// delivers their answers.
#[derive(Debug)]
pub(super) struct Pending {
    /// Begins every request id of this process. A session may still deliver answers to an
    /// earlier process, which must not be taken for answers to this one.
    prefix: String,
    /// A lock, because client, link and reader run in different tasks. It is held for one
    /// operation on the table, never across an await.
    table: Mutex<Table>,
    /// Notified when there may be a request to write.
    unwritten: Notify,
    /// One permit for each request that may wait to be written.
    slots: Arc<Semaphore>,
    answer_memory: AnswerMemory,
    /// How often streams were abandoned.
    interruptions: watch::Sender<u64>,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            prefix: format!("{}-", random::hex()),
            table: Mutex::new(Table::new()),
            unwritten: Notify::new(),
            slots: Arc::new(Semaphore::new(MAX_UNWRITTEN)),
            answer_memory: AnswerMemory::new(),
            interruptions: watch::Sender::new(0),
        }
    }

    /// The beginning of every request id. It is random, so nothing else that Ankaios sends
    /// contains it.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A request id that has not been used before, with its number.
    pub(super) fn next_id(&self) -> (u64, String) {
        let number = self.table().next_number();
        (number, format!("{}{number}", self.prefix))
    }

    /// The number in a request id of this process.
    pub(super) fn number(&self, request_id: &str) -> Option<u64> {
        request_id.strip_prefix(&self.prefix)?.parse().ok()
    }

    /// Waits for a slot for one more request. Dropping the future takes none.
    pub(super) async fn acquire_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Adds a request with one answer, and the frame that carries it.
    pub(super) fn add(
        &self,
        number: u64,
        frame: Bytes,
        kind: Kind,
        slot: Option<OwnedSemaphorePermit>,
    ) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        self.insert(number, Request::new(frame, kind, Recipient::Call(answer), slot));
        receiver
    }

    /// Adds a request with many answers, and the frame that carries it.
    pub(super) fn add_stream(
        &self,
        number: u64,
        frame: Bytes,
        producer: Producer,
        slot: Option<OwnedSemaphorePermit>,
    ) {
        let recipient = Recipient::Stream { producer, established: false };
        self.insert(number, Request::new(frame, Kind::Read, recipient, slot));
    }

    fn insert(&self, number: u64, request: Request) {
        let mut table = self.table();
        table.requests.insert(number, request);
        table.unwritten.insert(number);
        drop(table);
        self.unwritten.notify_one();
    }

    /// Says what the answer to a request means for the size of the state.
    ///
    /// # Errors
    /// [`RequestError::AnswerTooLarge`]; the request is removed.
    pub(super) fn set_subject(&self, number: u64, subject: Subject) -> Result<(), RequestError> {
        let mut guard = self.table();
        let table = &mut *guard;
        if let Subject::State(masks) = &subject
            && table.lost_answers.would_lose(masks, Instant::now())
        {
            table.remove(number);
            return Err(RequestError::AnswerTooLarge);
        }
        if let Some(request) = table.requests.get_mut(&number) {
            request.subject = Some(subject);
        }
        Ok(())
    }

    /// Records that the connection of the agent to its server, or that to the agent, was lost. The
    /// answer to a request for a part of the state may have been the reason.
    pub(super) fn connection_lost(&self) {
        let failed = self.table().lose_answers(Instant::now());
        self.fail_too_large(failed);
    }

    /// Records that the request with this number, or a probe, was answered by the server. Earlier
    /// requests for parts of the state without an answer will get none. Returns whether there were
    /// some.
    pub(super) fn overtaken_by(&self, number: u64) -> bool {
        let mut table = self.table();
        let Some(oldest) = table.oldest_unanswered_state() else { return false };
        let is_lost = oldest < number
            && table
                .requests
                .get(&oldest)
                .and_then(|request| request.written_at)
                .is_some_and(|written_at| written_at.elapsed() >= ANSWER_LOST);
        if !is_lost {
            return false;
        }
        let failed = table.lose_answer(oldest, Instant::now());
        drop(table);
        self.fail_too_large(failed);
        true
    }

    fn fail_too_large(&self, failed: impl IntoIterator<Item = Request>) {
        for request in failed {
            if let Some(Subject::State(field_masks)) = &request.subject {
                tracing::warn!(
                    ?field_masks,
                    "Ankaios' agent has lost its server while it read this part of the state, which \
                     is probably too large; it is not requested again for some minutes, unless \
                     something is deleted"
                );
            }
            request.fail(RequestError::AnswerTooLarge);
        }
        self.unwritten.notify_one();
    }

    /// Removes a stream. If Ankaios may know it, the frame `cancel` is written to end it; the
    /// answer to that is ignored.
    pub(super) fn cancel(&self, stream: u64, cancel: Bytes) {
        let Some(Request { written_at: Some(_), .. }) = self.table().remove(stream) else { return };
        let (number, _) = self.next_id();
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => {
                let request = Request::new(cancel, Kind::Read, Recipient::None, Some(slot));
                self.insert(number, request);
            }
            // Ankaios sends the stream until the session ends; its answers are ignored.
            Err(_) => tracing::debug!("a stream of Ankaios cannot be cancelled"),
        }
    }

    /// Whether there are streams of events or logs.
    pub(super) fn has_streams(&self) -> bool {
        let is_stream = |request: &Request| matches!(request.recipient, Recipient::Stream { .. });
        self.table().requests.values().any(is_stream)
    }

    /// Waits until there is a request to write.
    pub(super) async fn wait_for_unwritten(&self) {
        while self.table().unwritten.is_empty() {
            self.unwritten.notified().await;
        }
    }

    /// The next request to write, and its frame.
    pub(super) fn first_unwritten(&self) -> Option<(u64, Bytes)> {
        let table = self.table();
        let number = table.unwritten.first()?;
        table.requests.get(number).map(|request| (*number, request.frame.clone()))
    }

    /// Records that the request is being written. Returns `false` if it must not be, because it
    /// was completed in the meantime.
    pub(super) fn mark_written(&self, number: u64) -> bool {
        self.table().mark_written(number)
    }

    /// Whether Ankaios has received the request in this session and has not answered.
    pub(super) fn is_unanswered(&self, number: u64) -> bool {
        self.table().requests.get(&number).is_some_and(Request::is_unanswered)
    }

    /// Removes a request whose caller has gone.
    pub(super) fn remove(&self, number: u64) {
        self.table().remove(number);
    }

    /// Removes a request whose timeout has passed. `reason` is why the link fails at the
    /// moment.
    pub(super) fn expire(&self, number: u64, reason: &str) -> Expired {
        match self.table().remove(number) {
            Some(request) if request.is_unanswered() => Expired::Unanswered,
            Some(request) => Expired::Unavailable(request.unavailable(reason)),
            None => Expired::Completed,
        }
    }

    /// Completes a request with an error.
    pub(super) fn fail(&self, number: u64, error: RequestError) {
        let request = self.table().remove(number);
        if let Some(request) = request {
            request.fail(error);
        }
    }

    /// Completes all requests with an error, for this reason.
    pub(super) fn fail_all(&self, reason: &str) {
        let mut table = self.table();
        table.unwritten.clear();
        let requests = std::mem::take(&mut table.requests);
        drop(table);
        for request in requests.into_values() {
            let error = request.unavailable(reason);
            request.fail(error);
        }
    }

    /// Delivers an answer of `size` bytes, which did not arrive before `arrived`. Returns
    /// `false` if nobody waits for it: it is late, a duplicate, or for an earlier process.
    pub(super) fn answer(
        &self,
        request_id: &str,
        content: ResponseContent,
        size: usize,
        arrived: Moment,
    ) -> bool {
        let Some(number) = self.number(request_id) else { return false };
        let mut guard = self.table();
        let table = &mut *guard;
        let Entry::Occupied(mut entry) = table.requests.entry(number) else { return false };
        let request = entry.get_mut();
        if matches!(request.recipient, Recipient::AbandonedStream) {
            return false;
        }
        if request.clobbered {
            return true;
        }
        // A request that is to be repeated may get the answer to its first writing.
        table.unwritten.remove(&number);
        match (&request.subject, &content) {
            (Some(Subject::State(masks)), ResponseContent::CompleteStateResponse(_)) => {
                table.lost_answers.arrived(masks, size);
            }
            (Some(Subject::Removal), ResponseContent::UpdateStateSuccess(_)) => {
                table.lost_answers.forget();
            }
            _ => {}
        }
        if let Recipient::Stream { producer, established } = &mut request.recipient {
            *established = true;
            // The session that answers knows the stream, even if it was to be written again.
            request.written_at.get_or_insert_with(Instant::now);
            producer.push(content, size, arrived);
            return true;
        }
        let request = entry.remove();
        if request.kind == Kind::Update {
            table.last_answered_update = table.last_answered_update.max(Some(number));
        }
        // The answer may belong to an earlier writing, while earlier updates are to be repeated.
        let overtaken = table.take_overtaken();
        drop(guard);
        overtaken.into_iter().for_each(Request::fail_as_overtaken);
        match request.recipient {
            Recipient::Call(answer) => {
                let permit = self.answer_memory.try_acquire(size).ok_or_else(|| {
                    RequestError::Unavailable(
                        "too many large answers are being processed; try again, and request less \
                         at a time"
                            .into(),
                    )
                });
                answer.send(permit.map(|permit| (content, permit))).is_ok()
            }
            Recipient::Stream { .. } | Recipient::AbandonedStream | Recipient::None => false,
        }
    }

    /// Ends all established streams, because messages of the session may have been lost. The
    /// consumers subscribe again. Ankaios continues the old streams until they are cancelled.
    pub(super) fn abandon_streams(&self) {
        let mut abandoned = Vec::new();
        for request in self.table().requests.values_mut() {
            if matches!(request.recipient, Recipient::Stream { established: true, .. }) {
                request.frame = Bytes::new();
                abandoned
                    .push(std::mem::replace(&mut request.recipient, Recipient::AbandonedStream));
            }
        }
        for recipient in abandoned {
            if let Recipient::Stream { producer, .. } = recipient {
                producer.end(None);
            }
        }
        self.interruptions.send_modify(|count| *count += 1);
    }

    /// Counts the times at which messages of a session may have been lost.
    pub(super) fn interruptions(&self) -> watch::Receiver<u64> {
        self.interruptions.subscribe()
    }

    /// Prepares for a new session, which knows no streams, then does what
    /// [`requeue`](Self::requeue) does.
    pub(super) fn begin_session(&self) -> usize {
        self.abandon_streams();
        let mut guard = self.table();
        let table = &mut *guard;
        table.requests.retain(|number, request| {
            let obsolete =
                matches!(request.recipient, Recipient::AbandonedStream | Recipient::None);
            if obsolete {
                table.unwritten.remove(number);
            }
            !obsolete
        });
        drop(guard);
        self.requeue()
    }

    /// Queues all unanswered requests to be written again, in their order and before all newer
    /// ones. Returns their number.
    ///
    /// To repeat a read is harmless, and so is an update, which sets in full what it names. But an
    /// update that is repeated after a later one was answered could undo that one, so it ends
    /// with an error.
    pub(super) fn requeue(&self) -> usize {
        self.requeue_if(|request| {
            request.asked_at = None;
            true
        })
    }

    /// Like [`requeue`](Self::requeue) in a session that goes on but is silent, because the agent
    /// may be out of step. But Ankaios may also be busy with one of the requests, and would be even
    /// more so with copies of it: each is repeated only a few times.
    pub(super) fn requeue_after_silence(&self) -> usize {
        self.requeue_if(|request| {
            request.repetitions += 1;
            request.repetitions <= MAX_REPETITIONS
        })
    }

    fn requeue_if(&self, mut condition: impl FnMut(&mut Request) -> bool) -> usize {
        let mut guard = self.table();
        let table = &mut *guard;
        let mut requeued = 0_usize;
        for (number, request) in &mut table.requests {
            if request.is_unanswered() && condition(request) {
                request.written_at = None;
                table.unwritten.insert(*number);
                requeued += 1;
            }
        }
        let overtaken = table.take_overtaken();
        drop(guard);
        let requeued = requeued.saturating_sub(overtaken.len());
        overtaken.into_iter().for_each(Request::fail_as_overtaken);
        self.unwritten.notify_one();
        requeued
    }

    /// Records that Ankaios has answered something. Returns whether it was unresponsive before.
    pub(super) fn record_answer(&self) -> bool {
        self.table().silence.answered()
    }

    /// When Ankaios last answered something.
    pub(super) fn last_answer(&self) -> Instant {
        self.table().silence.last_answer()
    }

    /// Since when Ankaios has not answered, although it has received requests, even if these
    /// were removed since. `None` if no answer is expected.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.table().silent_since()
    }

    /// Records that a request or a probe has timed out.
    pub(super) fn mark_unresponsive(&self) {
        self.table().silence.mark_unresponsive();
    }

    /// Whether a request or a probe has timed out, and nothing has been answered since.
    pub(super) fn is_unresponsive(&self) -> bool {
        self.table().silence.is_unresponsive()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code that holds the lock can panic half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
