//! The roll-out itself: its state, and what all parts of the state machine do with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::{Action, Step};
use super::id::RequestKind;
use super::looks::Looks;
use super::outcome::Outcome;
use super::plan::Plan;
use super::state::{Stage, State};
use super::transition::{Halt, Line, Transition};
use super::vehicle::Phase;
use crate::time::Time;

/// How long the answer to [`Action::ReadState`] is waited for.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a request is sent to a vehicle that has not got it.
pub(super) const MAX_SENT: u32 = 3;

/// How late the roll-out may learn that time has passed. If it is later, the command did not run: a
/// laptop has slept.
pub(super) const LATE: Duration = Duration::from_secs(10);

/// After a connection to the broker, how long it takes until the presence of the vehicles is known.
/// The broker sends 10,000 retained statuses within 0.2 s.
pub(super) const PRESENCE_TIME: Duration = Duration::from_secs(2);

/// A roll-out.
#[derive(Debug, Clone)]
pub struct Rollout {
    pub(super) state: State,
    /// The time of the step.
    pub(super) now: Time,
    /// Whether the presence of the vehicles is known.
    pub(super) has_begun: bool,
    pub(super) is_connected: bool,
    /// Vehicles whose state is being read, and how long that is waited for.
    pub(super) reads: BTreeMap<usize, Time>,
    /// When vehicles in flight are read because nothing was heard of them.
    pub(super) looks: Looks,
    /// Vehicles of which messages may have been missed, and that are offline.
    pub(super) stale: BTreeSet<usize>,
    /// Vehicles that were in flight when the connection was made: requests to them may be lost.
    pub(super) interrupted: BTreeSet<usize>,
    /// Until then, the presence of the vehicles is not known again.
    pub(super) presence_at: Option<Time>,
    /// With a rate, the earliest time of the next start.
    pub(super) next_start: Option<Time>,
    /// What remains to be read or confirmed in this stage, once it is known.
    pub(super) work: Option<BTreeSet<usize>>,
    /// Vehicles of it whose read got no answer, and is made once more.
    pub(super) unanswered: BTreeSet<usize>,
    pub(super) is_gate_running: bool,
    /// Whether the verdict was reported.
    pub(super) is_reported: bool,
    pub(super) step: Step,
}

impl Rollout {
    /// A roll-out that has not begun. [`Event::Connected`](super::Event::Connected), the presence of
    /// the vehicles, and
    /// [`Event::Begin`](super::Event::Begin) come next.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self::resume(plan, &[])
    }

    /// A roll-out that goes on after these lines of the journal. It needs the same events as a new
    /// one; if it has halted, [`Event::Resume`](super::Event::Resume) as well.
    #[must_use]
    pub fn resume(plan: Plan, lines: &[Line]) -> Self {
        let mut state = State::new(plan);
        let mut next_start = None;
        for line in lines {
            state.apply(line);
            if matches!(&line.transition, Transition::Sent { request: RequestKind::Change, .. }) {
                let rate = state.plan().options.rate;
                next_start = rate.map(|rate| line.at.after(rate.interval()));
            }
        }
        let stale = (0..state.vehicles().len())
            .filter(|index| {
                let phase = state.at(*index).map(|vehicle| &vehicle.phase);
                phase.is_some_and(|it| !matches!(it, Phase::Waiting | Phase::Done(_)))
            })
            .collect();
        Self {
            state,
            now: Time::from_millis(0),
            has_begun: false,
            is_connected: false,
            reads: BTreeMap::new(),
            looks: Looks::default(),
            stale,
            interrupted: BTreeSet::new(),
            presence_at: None,
            next_start,
            work: None,
            unanswered: BTreeSet::new(),
            is_gate_running: false,
            is_reported: false,
            step: Step::default(),
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Makes a transition, and writes it to the journal.
    pub(super) fn record(&mut self, transition: Transition) {
        let line = Line { at: self.now, transition };
        self.state.apply(&line);
        if let Transition::Sent { vin, .. }
        | Transition::Answered { vin, .. }
        | Transition::Found { vin, .. } = &line.transition
        {
            self.state.index(vin).into_iter().for_each(|index| self.heard(index));
        }
        self.step.journal.push(line);
    }

    /// Something was heard of a vehicle, or sent to it.
    pub(super) fn heard(&mut self, index: usize) {
        if self.state.flying().contains(&index) {
            self.looks.heard(index, self.now);
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        self.step.actions.push(action);
    }

    /// Reads the state of a vehicle, if that is not done already.
    pub(super) fn read(&mut self, index: usize) {
        let Some(vehicle) = self.state.at(index) else { return };
        let vin = vehicle.vin.clone();
        if !self.is_connected || self.reads.contains_key(&index) {
            return;
        }
        self.stale.remove(&index);
        self.reads.insert(index, self.now.after(READ_TIMEOUT));
        self.act(Action::ReadState { vin });
    }

    /// Ends the roll-out for a vehicle.
    pub(super) fn end(&mut self, index: usize, outcome: Outcome) {
        let Some(vehicle) = self.state.at(index) else { return };
        let (vin, wave) = (vehicle.vin.clone(), vehicle.wave.unwrap_or(self.state.wave()));
        let workload = outcome.workload.clone().filter(|_| outcome.outcome.is_failure());
        self.record(Transition::Ended { vin: vin.clone(), wave, outcome });
        self.stale.remove(&index);
        self.interrupted.remove(&index);
        self.looks.remove(index);
        if let Some(workload) = workload {
            self.act(Action::ReadLog { vin, workload });
        }
    }

    /// Sends nothing new from now on. What an operator wants comes before what has happened, and
    /// a failure before a pause.
    pub(super) fn halt(&mut self, reason: Halt) {
        let rank = |halt: &Halt| match halt {
            Halt::Undo => 3,
            Halt::Aborted => 2,
            halt if halt.is_failure() => 1,
            _ => 0,
        };
        let is_over = matches!(self.state.stage(), Stage::Finished | Stage::Undoing);
        let is_undo = reason == Halt::Undo && self.state.stage() == Stage::Finished;
        let is_news = self.state.halt().is_none_or(|halt| rank(&reason) > rank(halt));
        if is_undo || (is_news && !is_over) {
            self.is_reported = false;
            if is_undo {
                self.work = None;
            }
            self.record(Transition::Halted { reason });
        }
    }

    /// The kinds of requests that a vehicle is settling with.
    pub(super) fn settling(&self, index: usize) -> Option<RequestKind> {
        match self.state.at(index).map(|vehicle| &vehicle.phase) {
            Some(Phase::Settling { request, .. }) => Some(*request),
            _ => None,
        }
    }

    pub(super) fn is_online(&self, index: usize) -> bool {
        self.state.at(index).is_some_and(|vehicle| vehicle.is_online)
    }

    pub(super) fn sends(&self, index: usize) -> u32 {
        self.state.at(index).map_or(0, |vehicle| vehicle.sends)
    }
}
