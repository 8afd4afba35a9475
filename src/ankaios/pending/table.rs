//! The requests without an answer, in the order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::Answer;
use crate::ankaios::buffer::Producer;
use crate::ankaios::client::RequestError;

/// Requests have numbers, in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) requests: BTreeMap<u64, Request>,
    /// Those of them that the present session has not got yet.
    pub(super) unwritten: BTreeSet<u64>,
    /// The last update that was answered.
    pub(super) updated: Option<u64>,
}

impl Table {
    pub(super) fn remove(&mut self, number: u64) -> Option<Request> {
        self.unwritten.remove(&number);
        self.requests.remove(&number)
    }

    /// Notes that Ankaios gets the request now. `false` if there is no need to, because it
    /// has ended in the meantime.
    pub(super) fn written(&mut self, number: u64, now: Instant) -> bool {
        let Some(request) = self.requests.get_mut(&number) else { return false };
        if !self.unwritten.remove(&number) {
            return false;
        }
        let repeated = request.is_sent_update();
        request.written = Some(now);
        request.sent = true;
        request.place = None;
        request.undone = false;
        if repeated {
            // Ankaios carries them out in the order in which they are written.
            for later in self.unwritten.range(number..) {
                if let Some(request) = self.requests.get_mut(later)
                    && request.is_sent_update()
                {
                    request.undone = true;
                }
            }
        }
        true
    }

    /// Takes out the updates that are to be written again although a later one
    /// was answered, which they could undo.
    pub(super) fn take_overtaken(&mut self) -> Vec<Request> {
        let Some(updated) = self.updated else { return Vec::new() };
        let numbers: Vec<u64> = self.unwritten.range(..updated).copied().collect();
        let is_overtaken =
            |number: &u64| self.requests.get(number).is_some_and(Request::is_sent_update);
        let overtaken: Vec<u64> = numbers.into_iter().filter(is_overtaken).collect();
        overtaken.into_iter().filter_map(|number| self.remove(number)).collect()
    }
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) frame: Bytes,
    pub(super) kind: Kind,
    /// When it was written in the present session.
    pub(super) written: Option<Instant>,
    /// It was written at all, in this session or before: Ankaios may have carried it out.
    sent: bool,
    /// It is an update that was sent, and an earlier one was repeated since. Only the answer
    /// to its own repetition counts: what it has set before may be no more.
    pub(super) undone: bool,
    pub(super) answer: Answers,
    /// Held until it was written for the first time.
    place: Option<OwnedSemaphorePermit>,
}

/// What happens if a request is written twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ankaios) enum Kind {
    /// Nothing: it only reads.
    Read,
    /// It may undo a later one.
    Update,
}

/// Where answers go.
#[derive(Debug)]
pub(super) enum Answers {
    /// There is one.
    One(oneshot::Sender<Answer>),
    /// There are many: events or logs, until the stream is cancelled.
    Many {
        producer: Producer,
        /// The first one has come: the stream stands.
        stands: bool,
    },
    /// There were many. Ankaios may go on with them until the stream is cancelled.
    GivenUp,
    /// Nobody waits for any.
    None,
}

impl Request {
    pub(super) fn new(
        frame: Bytes,
        kind: Kind,
        answer: Answers,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { frame, kind, written: None, sent: false, undone: false, answer, place }
    }

    /// An update that Ankaios may have carried out: to write it is to repeat it.
    fn is_sent_update(&self) -> bool {
        self.sent && self.kind == Kind::Update
    }

    /// Ankaios has got it, and it has no answer.
    pub(super) fn is_unanswered(&self) -> bool {
        let is_stream =
            matches!(self.answer, Answers::Many { stands: true, .. } | Answers::GivenUp);
        self.written.is_some() && !is_stream
    }

    pub(super) fn fail(self, error: RequestError) {
        match self.answer {
            // The requester may have gone in the meantime.
            Answers::One(answer) => drop(answer.send(Err(error))),
            Answers::Many { producer, .. } => producer.end(Some(error)),
            Answers::GivenUp | Answers::None => {}
        }
    }

    /// The error for a request that `reason` keeps from being answered.
    pub(super) fn unavailable(&self, reason: &str) -> RequestError {
        RequestError::Unavailable(if self.is_sent_update() {
            format!(
                "{reason}. The update may have been carried out all the same; read the state to see"
            )
        } else {
            reason.to_owned()
        })
    }

    pub(super) fn fail_as_overtaken(self) {
        self.fail(RequestError::Unavailable(
            "the answer was lost, and a later update was carried out; read the state to see \
             whether this one was, too"
                .into(),
        ));
    }
}
