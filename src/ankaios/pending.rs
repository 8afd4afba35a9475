//! Which requests wait for an answer, and for which one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::buffer::Producer;
use super::client::RequestError;
use crate::proto::ank_base::response::ResponseContent;

/// What a request ends with.
pub(super) type Answer = Result<ResponseContent, RequestError>;

/// The requests without an answer, shared by client, link and reader.
#[derive(Debug)]
pub(super) struct Pending {
    /// In front of every request id: answers to an earlier process of the
    /// connector, which the same session may still deliver, must not be taken
    /// for ours.
    prefix: String,
    next: AtomicU64,
    /// Ordered by number, which is the order of arrival.
    requests: Mutex<BTreeMap<u64, Request>>,
    /// A request has gone unanswered past its timeout, and nothing has been
    /// answered since.
    overdue: AtomicBool,
    /// When Ankaios has answered for the last time.
    heard: Mutex<Instant>,
}

#[derive(Debug)]
struct Request {
    frame: Bytes,
    /// When it was written in the present session.
    written: Option<Instant>,
    answer: Answers,
}

/// Where answers go.
#[derive(Debug)]
enum Answers {
    /// There is one.
    One(oneshot::Sender<Answer>),
    /// There are many: events or logs, until the stream is cancelled.
    Many {
        producer: Producer,
        /// The first one has come: the stream stands.
        stands: bool,
    },
    /// Nobody waits for any.
    None,
}

impl Request {
    /// Ankaios has got it, and it has no answer.
    fn is_unanswered(&self) -> bool {
        self.written.is_some() && !matches!(self.answer, Answers::Many { stands: true, .. })
    }

    fn fail(self, error: RequestError) {
        match self.answer {
            // The requester may have gone in the meantime.
            Answers::One(answer) => drop(answer.send(Err(error))),
            Answers::Many { producer, .. } => producer.end(Some(error)),
            Answers::None => {}
        }
    }
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            prefix: format!("{:x}-", RandomState::new().build_hasher().finish()),
            next: AtomicU64::new(0),
            requests: Mutex::default(),
            overdue: AtomicBool::new(false),
            heard: Mutex::new(Instant::now()),
        }
    }

    /// A request id that has not been used before.
    pub(super) fn next_id(&self) -> (u64, String) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number, format!("{}{number}", self.prefix))
    }

    /// Adds a request, with the frame that carries it.
    pub(super) fn add(&self, number: u64, frame: Bytes) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let answer = Answers::One(answer);
        self.requests().insert(number, Request { frame, written: None, answer });
        receiver
    }

    /// Adds a request with many answers.
    pub(super) fn add_stream(&self, number: u64, frame: Bytes, producer: Producer) {
        let answer = Answers::Many { producer, stands: false };
        self.requests().insert(number, Request { frame, written: None, answer });
    }

    /// Adds a request whose answer does not matter.
    pub(super) fn add_unanswered(&self, number: u64, frame: Bytes) {
        let answer = Answers::None;
        self.requests().insert(number, Request { frame, written: None, answer });
    }

    /// Whether events or logs are expected.
    pub(super) fn has_streams(&self) -> bool {
        let is_stream = |request: &Request| matches!(request.answer, Answers::Many { .. });
        self.requests().values().any(is_stream)
    }

    /// The frame of a request that nobody has given up yet.
    pub(super) fn frame(&self, number: u64) -> Option<Bytes> {
        self.requests().get(&number).map(|request| request.frame.clone())
    }

    /// Notes that Ankaios has got the request.
    pub(super) fn written(&self, number: u64) {
        let mut requests = self.requests();
        match requests.get_mut(&number) {
            Some(Request { answer: Answers::None, .. }) => drop(requests.remove(&number)),
            Some(request) => request.written = Some(Instant::now()),
            None => {}
        }
    }

    /// Nobody waits for the request any more. Returns whether Ankaios has got
    /// it without answering.
    pub(super) fn remove(&self, number: u64) -> bool {
        self.requests().remove(&number).is_some_and(|request| request.is_unanswered())
    }

    /// Ends a request without an answer of Ankaios.
    pub(super) fn fail(&self, number: u64, error: RequestError) {
        let request = self.requests().remove(&number);
        if let Some(request) = request {
            request.fail(error);
        }
    }

    /// Ends all requests without an answer of Ankaios.
    pub(super) fn fail_all(&self, error: &RequestError) {
        let requests = std::mem::take(&mut *self.requests());
        for (_, request) in requests {
            request.fail(error.clone());
        }
    }

    /// Delivers an answer of `size` bytes. Returns `false` if nobody waits for it: it came too
    /// late, twice, or belongs to an earlier process.
    pub(super) fn answer(&self, request_id: &str, content: ResponseContent, size: usize) -> bool {
        self.heard();
        let number = request_id.strip_prefix(&self.prefix).and_then(|number| number.parse().ok());
        let Some(number) = number else { return false };
        let mut requests = self.requests();
        let Entry::Occupied(mut entry) = requests.entry(number) else { return false };
        if let Answers::Many { producer, stands } = &mut entry.get_mut().answer {
            *stands = true;
            producer.push(content, size);
            return true;
        }
        match entry.remove().answer {
            Answers::One(answer) => answer.send(Ok(content)).is_ok(),
            Answers::Many { .. } | Answers::None => false,
        }
    }

    /// The session that the streams belong to has ended, or some of what it
    /// sent was lost.
    pub(super) fn end_streams(&self) {
        let mut requests = self.requests();
        let ended: Vec<_> = requests
            .extract_if(.., |_, request| {
                matches!(request.answer, Answers::Many { stands: true, .. })
            })
            .collect();
        drop(requests);
        for (_, request) in ended {
            if let Answers::Many { producer, .. } = request.answer {
                producer.end(None);
            }
        }
    }

    /// Begins a new session: what the former one has not answered must be
    /// written again. Returns it in order of arrival.
    pub(super) fn unanswered(&self) -> Vec<u64> {
        let mut requests = self.requests();
        let written = requests.iter_mut().filter(|(_, request)| request.is_unanswered());
        written
            .map(|(&number, request)| {
                request.written = None;
                number
            })
            .collect()
    }

    /// Notes that Ankaios has answered something.
    pub(super) fn heard(&self) {
        self.overdue.store(false, Ordering::Relaxed);
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Since when Ankaios has had a request without answering anything.
    /// `None` if it has no request.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        let requests = self.requests();
        let unanswered = requests.values().filter(|request| request.is_unanswered());
        let oldest = unanswered.filter_map(|request| request.written).min()?;
        Some(oldest.max(*self.heard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Notes that a request has gone unanswered past its timeout.
    pub(super) fn set_overdue(&self) {
        self.overdue.store(true, Ordering::Relaxed);
    }

    /// Whether a request has gone unanswered past its timeout, and nothing has
    /// been answered since.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    fn requests(&self) -> MutexGuard<'_, BTreeMap<u64, Request>> {
        // No code that holds the lock can panic half-way through a change.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::proto::ank_base::EventsCancelAccepted;

    fn content() -> ResponseContent {
        ResponseContent::EventsCancelAccepted(EventsCancelAccepted {})
    }

    #[test]
    fn an_answer_reaches_its_request_once() {
        let pending = Pending::new();
        let (number, id) = pending.next_id();
        let mut receiver = pending.add(number, Bytes::new());
        assert!(pending.answer(&id, content(), 0));
        assert!(!pending.answer(&id, content(), 0));
        assert!(receiver.try_recv().unwrap().is_ok());
    }

    #[test]
    fn answers_to_another_process_are_nobodys() {
        let pending = Pending::new();
        let (number, id) = pending.next_id();
        let _receiver = pending.add(number, Bytes::new());
        let (_, foreign) = Pending::new().next_id();
        for unknown in [foreign.as_str(), "0", "", &id[1..], &format!("{id}9")] {
            assert!(!pending.answer(unknown, content(), 0), "{unknown}");
        }
        assert!(pending.answer(&id, content(), 0));
    }

    #[test]
    fn what_a_lost_session_has_not_answered_is_written_again_in_order() {
        let pending = Pending::new();
        let mut receivers = Vec::new();
        for _ in 0..4 {
            let (number, _) = pending.next_id();
            receivers.push(pending.add(number, Bytes::new()));
            pending.written(number);
        }
        let (unwritten, _) = pending.next_id();
        receivers.push(pending.add(unwritten, Bytes::new()));
        pending.remove(1);
        assert_eq!(pending.unanswered(), [0, 2, 3]);
        assert_eq!(pending.unanswered(), [0u64; 0]);
    }

    #[test]
    fn any_answer_ends_the_suspicion_that_nothing_is_answered() {
        let pending = Pending::new();
        pending.set_overdue();
        assert!(pending.is_overdue());
        pending.answer("unknown", content(), 0);
        assert!(!pending.is_overdue());
    }
}
