//! A vehicle of a roll-out.

use super::id::RequestKind;
use super::outcome::{Outcome, OutcomeKind};
use crate::time::Time;
use crate::vin::Vin;

/// What a roll-out knows of a vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vehicle {
    /// Its VIN.
    pub vin: Vin,
    /// The wave in which it was changed first, from 1.
    pub wave: Option<usize>,
    /// The number of requests that were sent to it.
    pub attempts: u32,
    /// How often the request in progress was sent.
    pub(super) sends: u32,
    /// The revision that it has made.
    pub revision: Option<u64>,
    /// Whether it keeps the change although nobody confirms it any more.
    pub is_confirmed: bool,
    /// Whether an undo was sent to it.
    pub is_undo_sent: bool,
    /// Whether what runs has stayed up.
    pub(super) soak: Soak,
    /// The last log lines of a workload that has failed.
    pub log: Vec<String>,
    /// How far it is.
    pub phase: Phase,
    /// Whether it is online, as far as this run of the command knows.
    pub(super) is_online: bool,
}

/// Whether what runs on a vehicle has stayed up. It begins after the vehicle has succeeded, which may
/// be long after its wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Soak {
    /// The soak time has not begun.
    Due,
    /// It has begun.
    Running,
    /// It has ended.
    Over,
}

/// How far a vehicle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was sent, or it is to be attempted again.
    Waiting,
    /// The request waits at the broker for the vehicle.
    Queued {
        /// When the broker drops it.
        deadline: Time,
    },
    /// It is being changed.
    Changing {
        /// By when it must be over.
        deadline: Time,
        /// Whether it has accepted the change.
        is_answered: bool,
    },
    /// A confirmation or an undo is in progress.
    Settling {
        /// Which of both.
        request: RequestKind,
        /// By when it must be answered.
        deadline: Time,
        /// The outcome until then.
        former: Outcome,
    },
    /// It is over.
    Done(Outcome),
}

impl Vehicle {
    pub(super) fn new(vin: Vin) -> Self {
        Self {
            vin,
            wave: None,
            attempts: 0,
            sends: 0,
            revision: None,
            is_confirmed: false,
            is_undo_sent: false,
            soak: Soak::Due,
            log: Vec::new(),
            phase: Phase::Waiting,
            is_online: false,
        }
    }

    /// Whether it has succeeded, and is in its soak time.
    #[must_use]
    pub fn is_soaking(&self) -> bool {
        self.has_succeeded(Soak::Running)
    }

    pub(super) fn has_succeeded(&self, soak: Soak) -> bool {
        self.outcome() == Some(OutcomeKind::Succeeded) && self.soak == soak
    }

    /// Whether it is being changed, confirmed or taken back.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.deadline().is_some()
    }

    /// The outcome so far; `None` while the vehicle is being changed.
    #[must_use]
    pub fn outcome(&self) -> Option<OutcomeKind> {
        match &self.phase {
            Phase::Waiting | Phase::Queued { .. } => Some(OutcomeKind::Pending),
            Phase::Changing { .. } => None,
            Phase::Settling { former, .. } => Some(former.outcome),
            Phase::Done(outcome) => Some(outcome.outcome),
        }
    }

    /// Why it has ended; `None` before that.
    #[must_use]
    pub fn cause(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Settling { former: outcome, .. } | Phase::Done(outcome) => Some(outcome),
            Phase::Waiting | Phase::Queued { .. } | Phase::Changing { .. } => None,
        }
    }

    /// By when the request in progress must be over. None for one that waits at the broker.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Changing { deadline, .. } | Phase::Settling { deadline, .. } => Some(deadline),
            Phase::Waiting | Phase::Queued { .. } | Phase::Done(_) => None,
        }
    }
}
