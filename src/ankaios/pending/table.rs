//! The requests without an answer, in the order of arrival.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

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

    /// Takes out the updates that are to be written again although a later one
    /// was answered, which they could undo.
    pub(super) fn take_overtaken(&mut self) -> Vec<Request> {
        let Some(updated) = self.updated else { return Vec::new() };
        let numbers: Vec<u64> = self.unwritten.range(..updated).copied().collect();
        let is_overtaken = |number: &u64| {
            let request = self.requests.get(number);
            request.is_some_and(|request| request.kind == Kind::Update && request.place.is_none())
        };
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
    pub(super) answer: Answers,
    /// Held until it was written for the first time.
    pub(super) place: Option<OwnedSemaphorePermit>,
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

    pub(super) fn fail_as_overtaken(self) {
        self.fail(RequestError::Unavailable(
            "the answer was lost, and a later update was carried out; read the state to see \
             whether this one was, too"
                .into(),
        ));
    }
}
