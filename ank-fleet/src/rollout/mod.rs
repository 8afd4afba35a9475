//! The roll-out: a state machine without I/O and without a clock.
//!
//! ```text
//!  Event, now ──► Rollout::step ──► Step { journal: lines to sync, actions: to be done then }
//!                      │
//!                      ▼ Transition
//!                    State (plan, vehicles, wave, stage)   ◄── Rollout::resume: the same lines
//! ```
//!
//! Of a wave: *changing* (requests, replies, status messages, deadlines) → *soaking* → *gate* →
//! *confirming* → the next wave. A limit, a gate, the operator or `--until` halts the roll-out: what
//! is in flight is followed to its end, and nothing new is sent.
//!
//! Which vehicle is next: the first of the plan's order that is online. Those that are offline are
//! skipped, and attempted when they come online. A wave has room for so many *attempted* vehicles as
//! `--waves` says: those that have the change already take no room, so the first wave is a real
//! trial.
//!
//! What may have been missed is read: after each connection to the broker, when a vehicle comes
//! online, and before a deadline is judged (a laptop may have slept), the state of the vehicle
//! decides, not the absence of a message.

mod advance;
mod event;
mod events;
mod id;
mod judge;
mod outcome;
mod plan;
mod stages;
mod start;
mod state;
mod tally;
mod transition;
mod vehicle;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use event::{Action, Event, OwnRevision, Settled, Step, VehicleState, Verdict};
pub use id::{InvalidRolloutId, RequestId, RequestKind, RolloutId};
pub(crate) use judge::{describe, has_failed};
pub use outcome::{Code, Outcome, OutcomeKind};
pub use plan::{Change, OnFailure, Options, Plan};
pub use stages::ExitCode;
pub use state::{Stage, State};
pub use tally::Tally;
pub use transition::{Halt, Line, Transition};
pub use vehicle::{Phase, Vehicle};

use crate::time::Time;

/// How long the answer to [`Action::ReadState`] is waited for.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a request is sent to a vehicle that has not got it.
const MAX_SENT: u32 = 3;

/// A roll-out.
#[derive(Debug, Clone)]
pub struct Rollout {
    state: State,
    /// The time of the step.
    now: Time,
    /// Whether the presence of the vehicles is known.
    has_begun: bool,
    is_connected: bool,
    /// Vehicles whose state is being read, and how long that is waited for.
    reads: BTreeMap<usize, Time>,
    /// Vehicles of which messages may have been missed, and that are offline.
    stale: BTreeSet<usize>,
    /// With a rate, the earliest time of the next start.
    next_start: Option<Time>,
    /// What remains to be read or confirmed in this stage, once it is known.
    work: Option<BTreeSet<usize>>,
    is_gate_running: bool,
    /// Whether the verdict was reported.
    is_reported: bool,
    step: Step,
}

impl Rollout {
    /// A roll-out that has not begun. [`Event::Connected`], the presence of the vehicles, and
    /// [`Event::Begin`] come next.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self::resume(plan, &[])
    }

    /// A roll-out that goes on after these lines of the journal. It needs the same events as a new
    /// one; if it has halted, [`Event::Resume`] as well.
    #[must_use]
    pub fn resume(plan: Plan, lines: &[Line]) -> Self {
        let mut state = State::new(plan);
        for line in lines {
            state.apply(line);
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
            stale,
            next_start: None,
            work: None,
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

    /// Handles an event. The lines of the result must be in the journal before its actions are
    /// done.
    pub fn step(&mut self, event: Event, now: Time) -> Step {
        // The system clock may be set back.
        self.now = self.now.max(now);
        self.handle(event);
        self.advance();
        std::mem::take(&mut self.step)
    }

    /// When [`Event::Tick`] is needed next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if !self.is_connected || !self.has_begun {
            return None;
        }
        let reads = self.reads.values().copied();
        let unread = self.state.deadlines().iter().find(|(_, it)| !self.reads.contains_key(it));
        let soak = match self.state.stage() {
            Stage::Soaking { until } => Some(until).filter(|until| *until > self.now),
            _ => None,
        };
        let is_changing = self.state.stage() == Stage::Changing && self.state.halt().is_none();
        let until = self.state.until().filter(|until| is_changing && *until > self.now);
        let start = self.next_start.filter(|start| *start > self.now);
        let times = [unread.map(|(time, _)| *time), soak, until, start];
        reads.chain(times.into_iter().flatten()).min()
    }

    /// Makes a transition, and writes it to the journal.
    fn record(&mut self, transition: Transition) {
        let line = Line { at: self.now, transition };
        self.state.apply(&line);
        self.step.journal.push(line);
    }

    fn act(&mut self, action: Action) {
        self.step.actions.push(action);
    }

    /// Reads the state of a vehicle, if that is not done already.
    fn read(&mut self, index: usize) {
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
    fn end(&mut self, index: usize, outcome: Outcome) {
        let Some(vehicle) = self.state.at(index) else { return };
        let (vin, wave) = (vehicle.vin.clone(), vehicle.wave.unwrap_or(self.state.wave()));
        let workload = outcome.workload.clone().filter(|_| outcome.outcome.is_failure());
        self.record(Transition::Ended { vin: vin.clone(), wave, outcome });
        self.stale.remove(&index);
        if let Some(workload) = workload {
            self.act(Action::ReadLog { vin, workload });
        }
    }
}
