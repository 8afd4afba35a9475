//! The requests without an answer, in the order of their numbers.

use std::collections::{BTreeMap, BTreeSet};

use ankaios_model::proto::ank_base::response::ResponseContent;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::lost_answers::{ANSWER_LOST, LostAnswers, MAX_LOSSES};
use super::silence::Silence;
use crate::answer_memory::AnswerPermit;
use crate::buffer::Producer;
use crate::error::RequestError;

/// The outcome of a request, with the memory budget of its answer.
pub(crate) type Answer = Result<(ResponseContent, AnswerPermit), RequestError>;

/// All requests that are not completed. Their numbers follow the order of their arrival.
#[derive(Debug)]
pub(super) struct Table {
    next_number: u64,
    pub(super) requests: BTreeMap<u64, Request>,
    /// Those of `requests` that have to be written to the present session.
    pub(super) unwritten: BTreeSet<u64>,
    /// The latest update that was answered.
    pub(super) last_answered_update: Option<u64>,
    pub(super) silence: Silence,
    pub(super) lost_answers: LostAnswers,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            next_number: 0,
            requests: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            last_answered_update: None,
            silence: Silence::new(),
            lost_answers: LostAnswers::default(),
        }
    }

    /// A number that has not been used before.
    pub(super) fn next_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Request> {
        self.unwritten.remove(&number);
        self.requests.remove(&number)
    }

    /// Records that the request is being written. Returns `false` if it must not be, because it
    /// was completed in the meantime.
    pub(super) fn mark_written(&mut self, number: u64) -> bool {
        let Some(request) = self.requests.get_mut(&number) else { return false };
        if !self.unwritten.remove(&number) {
            return false;
        }
        let now = Instant::now();
        let repeated = request.is_sent_update();
        let awaits_answer = !matches!(request.recipient, Recipient::None);
        request.written_at = Some(now);
        request.asked_at.get_or_insert(now);
        request.ever_written = true;
        request.slot = None;
        request.clobbered = false;
        if repeated {
            // Ankaios carries out updates in the order in which they are written.
            for later in self.unwritten.range(number..) {
                if let Some(request) = self.requests.get_mut(later)
                    && request.is_sent_update()
                {
                    request.clobbered = true;
                }
            }
        }
        if awaits_answer {
            self.silence.request_written(now);
        } else {
            self.requests.remove(&number);
        }
        true
    }

    /// Takes out the updates that are to be repeated although a later one was answered. To
    /// repeat them could undo that one.
    pub(super) fn take_overtaken(&mut self) -> Vec<Request> {
        let Some(answered) = self.last_answered_update else { return Vec::new() };
        let is_overtaken =
            |number: &&u64| self.requests.get(number).is_some_and(Request::is_sent_update);
        let overtaken: Vec<u64> =
            self.unwritten.range(..answered).filter(is_overtaken).copied().collect();
        overtaken.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Records that the connection was lost on which the answers to all written requests were
    /// expected. Returns the requests for parts of the state that must not be repeated.
    ///
    /// Answers come in the order of the requests, so the answer to the oldest one has broken the
    /// connection, if one has. Others may do the same the next time.
    pub(super) fn lose_answers(&mut self, now: Instant) -> Vec<Request> {
        // The agent waits for a second before it connects again.
        let is_suspect = |number: &u64| {
            let asked_at = self.requests.get(number).and_then(|request| request.asked_at);
            asked_at.is_some_and(|asked_at| now.duration_since(asked_at) >= ANSWER_LOST)
        };
        let unanswered: Vec<u64> = self.unanswered_states().filter(is_suspect).collect();
        let Some((oldest, others)) = unanswered.split_first() else {
            self.lost_answers.forget_older(now);
            return Vec::new();
        };
        let others = others.iter().filter(|number| self.may_be_large(**number));
        let lost: Vec<u64> = std::iter::once(oldest).chain(others).copied().collect();
        lost.into_iter().filter_map(|number| self.lose_answer(number, now)).collect()
    }

    /// Records that the answer to a request for a part of the state was lost. Returns the request if
    /// it must not be repeated; otherwise it is queued to be written again.
    pub(super) fn lose_answer(&mut self, number: u64, now: Instant) -> Option<Request> {
        let may_be_large = self.may_be_large(number);
        let request = self.requests.get_mut(&number)?;
        let Some(Subject::State(masks)) = &request.subject else { return None };
        request.losses += 1;
        if !may_be_large && request.losses < MAX_LOSSES && !self.lost_answers.has(masks) {
            request.written_at = None;
            request.asked_at = None;
            self.unwritten.insert(number);
            return None;
        }
        self.lost_answers.remember(masks.clone(), now);
        self.remove(number)
    }

    fn may_be_large(&self, number: u64) -> bool {
        let subject = self.requests.get(&number).and_then(|request| request.subject.as_ref());
        matches!(subject, Some(Subject::State(masks)) if self.lost_answers.may_be_large(masks))
    }

    /// The requests for parts of the state that are unanswered, the oldest first.
    fn unanswered_states(&self) -> impl Iterator<Item = u64> {
        let is_unanswered = |request: &Request| {
            matches!(request.subject, Some(Subject::State(_))) && request.is_unanswered()
        };
        let unanswered = self.requests.iter().filter(move |(_, request)| is_unanswered(request));
        unanswered.map(|(number, _)| *number)
    }

    /// The oldest request for a part of the state that is unanswered.
    pub(super) fn oldest_unanswered_state(&self) -> Option<u64> {
        self.unanswered_states().next()
    }

    /// Since when Ankaios has not answered; `None` if no answer is expected.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.silence.since(|| {
            let unanswered = self.requests.values().filter(|request| request.is_unanswered());
            unanswered.filter_map(|request| request.written_at).min()
        })
    }
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) frame: Bytes,
    pub(super) kind: Kind,
    /// When it was written to the present session.
    pub(super) written_at: Option<Instant>,
    /// When it was written to this session for the first time.
    pub(super) asked_at: Option<Instant>,
    /// It was written to this session or an earlier one: Ankaios may have carried it out.
    ever_written: bool,
    /// It is a sent update, and an earlier one was repeated since, which may have undone it.
    /// Only the answer to its own repetition counts.
    pub(super) clobbered: bool,
    pub(super) recipient: Recipient,
    /// What its answer means for the size of the state.
    pub(super) subject: Option<Subject>,
    /// How many times its answer was lost.
    losses: u8,
    /// How many times it was written again in the same session.
    pub(super) repetitions: u8,
    /// Held until the request is written for the first time.
    slot: Option<OwnedSemaphorePermit>,
}

/// What the answer to a request means for the size of the state.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// It contains the parts of the state with these field masks.
    State(Vec<String>),
    /// The state has become smaller.
    Removal,
}

/// What it means to write a request twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only reads, so nothing happens.
    Read,
    /// It may undo a later update.
    Update,
}

/// Who gets the answers to a request.
#[derive(Debug)]
pub(super) enum Recipient {
    /// A call, which gets one answer.
    Call(oneshot::Sender<Answer>),
    /// A stream of events or logs, which gets answers until it is cancelled.
    Stream {
        producer: Producer,
        /// The first answer has arrived.
        established: bool,
    },
    /// A stream that was ended by the link. Ankaios may send more answers until it is cancelled.
    AbandonedStream,
    /// Nobody: the request cancels a stream.
    None,
}

impl Request {
    pub(super) fn new(
        frame: Bytes,
        kind: Kind,
        recipient: Recipient,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            frame,
            kind,
            written_at: None,
            asked_at: None,
            ever_written: false,
            clobbered: false,
            recipient,
            subject: None,
            losses: 0,
            repetitions: 0,
            slot,
        }
    }

    /// Whether it is an update that Ankaios may have carried out, so that writing it repeats it.
    fn is_sent_update(&self) -> bool {
        self.ever_written && self.kind == Kind::Update
    }

    /// Whether it was written to the present session and has no answer.
    pub(super) fn is_unanswered(&self) -> bool {
        let was_answered = matches!(
            self.recipient,
            Recipient::Stream { established: true, .. } | Recipient::AbandonedStream
        );
        self.written_at.is_some() && !was_answered
    }

    pub(super) fn fail(self, error: RequestError) {
        match self.recipient {
            // The caller may have gone in the meantime.
            Recipient::Call(answer) => drop(answer.send(Err(error))),
            Recipient::Stream { producer, .. } => producer.end(Some(error)),
            Recipient::AbandonedStream | Recipient::None => {}
        }
    }

    /// The error for a request that is not answered for this reason.
    pub(super) fn unavailable(&self, reason: &str) -> RequestError {
        RequestError::Unavailable(if self.is_sent_update() {
            format!(
                "{reason}. The update may have been executed nevertheless; read the state to check"
            )
        } else {
            reason.to_owned()
        })
    }

    pub(super) fn fail_as_overtaken(self) {
        self.fail(RequestError::Unavailable(
            "the answer was lost, and a later update was executed; read the state to check whether \
             this one was, too"
                .into(),
        ));
    }
}
