//! The state of a roll-out: the plan, and the sum of its transitions.

use std::collections::{BTreeMap, BTreeSet};

use super::id::RequestKind;
use super::outcome::{Outcome, OutcomeKind};
use super::plan::Plan;
use super::tally::Tally;
use super::transition::{Halt, Line, Transition};
use super::vehicle::{Phase, Soak, Vehicle};
use crate::time::Time;
use crate::vin::Vin;

/// The state of a roll-out.
///
/// Only [`apply`](Self::apply) changes it, so the transitions in the journal rebuild it. What is
/// known of the presence of vehicles is not part of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    plan: Plan,
    vehicles: Vec<Vehicle>,
    index: BTreeMap<Vin, usize>,
    tallies: Vec<Tally>,
    /// The current wave, from 1.
    wave: usize,
    stage: Stage,
    halt: Option<Halt>,
    is_undone: bool,
    until: Option<Time>,
    /// Vehicles that wait, and have not been in a wave.
    new: BTreeSet<usize>,
    /// Those of them that are online.
    new_online: BTreeSet<usize>,
    /// Vehicles that wait, and have been in a wave.
    again: BTreeSet<usize>,
    /// Vehicles that have the change already, and have not been in a wave.
    unchanged: BTreeSet<usize>,
    in_flight: BTreeSet<usize>,
    /// The deadlines of those in flight.
    deadlines: BTreeSet<(Time, usize)>,
}

/// What happens in the current wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Vehicles are being changed.
    Changing,
    /// What runs must stay up until then.
    Soaking {
        /// The end of the soak time.
        until: Time,
    },
    /// The gate is running.
    Gate,
    /// Vehicles are being confirmed.
    Confirming,
    /// The changes are being taken back.
    Undoing,
    /// The roll-out is over.
    Finished,
}

impl State {
    pub(super) fn new(plan: Plan) -> Self {
        let vehicles: Vec<Vehicle> = plan.vehicles.iter().cloned().map(Vehicle::new).collect();
        let index = vehicles.iter().enumerate();
        let index = index.map(|(index, vehicle)| (vehicle.vin.clone(), index)).collect();
        let is_unchanged = |index: &usize| {
            vehicles.get(*index).is_some_and(|vehicle| plan.unchanged.contains(&vehicle.vin))
        };
        let (unchanged, new) = (0..vehicles.len()).partition(is_unchanged);
        Self {
            tallies: vec![Tally::default(); plan.waves.len()],
            until: plan.options.until,
            plan,
            vehicles,
            index,
            wave: 1,
            stage: Stage::Changing,
            halt: None,
            is_undone: false,
            new,
            new_online: BTreeSet::new(),
            again: BTreeSet::new(),
            unchanged,
            in_flight: BTreeSet::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The vehicles, in the order of the plan.
    #[must_use]
    pub fn vehicles(&self) -> &[Vehicle] {
        &self.vehicles
    }

    /// A vehicle of the roll-out.
    #[must_use]
    pub fn vehicle(&self, vin: &Vin) -> Option<&Vehicle> {
        self.at(*self.index.get(vin)?)
    }

    /// The current wave, from 1. After the last one, the last one.
    #[must_use]
    pub fn wave(&self) -> usize {
        self.wave
    }

    /// What happens in the current wave.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Why nothing new is sent; `None` if it is.
    #[must_use]
    pub fn halt(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }

    /// Whether what it has changed is being taken back, or was. It does not go on then.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        self.is_undone
    }

    /// The counts of a wave, from 1.
    #[must_use]
    pub fn tally(&self, wave: usize) -> Tally {
        wave.checked_sub(1).and_then(|index| self.tallies.get(index)).copied().unwrap_or_default()
    }

    /// The number of vehicles in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many vehicles a wave attempts: those that it has, and for the current wave those that
    /// it still can. The limits are a share of this number.
    #[must_use]
    pub fn wave_size(&self, wave: usize) -> usize {
        let attempted = self.tally(wave).attempted;
        let more = self.free_slots().min(self.new_online.len());
        attempted + if wave == self.wave { more } else { 0 }
    }

    /// How many vehicles that were in no wave yet the current one may attempt.
    pub(super) fn free_slots(&self) -> usize {
        let size = self.plan.waves.get(self.wave.saturating_sub(1)).copied().unwrap_or_default();
        let attempted: usize = self.tallies.iter().map(|tally| tally.attempted).sum();
        size.saturating_sub(attempted)
    }

    pub(super) fn index(&self, vin: &Vin) -> Option<usize> {
        self.index.get(vin).copied()
    }

    pub(super) fn at(&self, index: usize) -> Option<&Vehicle> {
        self.vehicles.get(index)
    }

    pub(super) fn flying(&self) -> &BTreeSet<usize> {
        &self.in_flight
    }

    pub(super) fn new_vehicles(&self) -> (&BTreeSet<usize>, &BTreeSet<usize>) {
        (&self.new, &self.new_online)
    }

    pub(super) fn again(&self) -> &BTreeSet<usize> {
        &self.again
    }

    pub(super) fn unchanged(&self) -> &BTreeSet<usize> {
        &self.unchanged
    }

    pub(super) fn deadlines(&self) -> &BTreeSet<(Time, usize)> {
        &self.deadlines
    }

    /// Whether vehicles wait that nothing was sent to, or for which the broker keeps the request.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        let queued: usize = self.tallies.iter().map(|tally| tally.queued).sum();
        !self.new.is_empty() || !self.again.is_empty() || queued > 0
    }

    pub(super) fn until(&self) -> Option<Time> {
        self.until
    }

    pub(super) fn is_last_wave(&self) -> bool {
        self.wave >= self.plan.waves.len()
    }

    /// Remembers whether a vehicle is online.
    pub(super) fn set_online(&mut self, index: usize, is_online: bool) {
        self.change(index, |vehicle| vehicle.is_online = is_online);
    }

    /// Makes a transition. One that does not fit the plan changes nothing.
    pub fn apply(&mut self, line: &Line) {
        match &line.transition {
            Transition::Sent { vin, request, wave, attempt, deadline, queued } => {
                self.change_vehicle(vin, |vehicle| {
                    vehicle.attempts = vehicle.attempts.max(*attempt);
                    vehicle.wave.get_or_insert(*wave);
                    vehicle.sent(*request, *deadline, *queued);
                });
            }
            Transition::Answered { vin, revision } => {
                let from_now = line.at.after(self.plan.options.deadline);
                self.change_vehicle(vin, |vehicle| {
                    vehicle.revision = revision.or(vehicle.revision);
                    match &mut vehicle.phase {
                        Phase::Changing { is_answered, .. } => *is_answered = true,
                        Phase::Queued { .. } => {
                            vehicle.phase =
                                Phase::Changing { deadline: from_now, is_answered: true };
                        }
                        Phase::Waiting | Phase::Settling { .. } | Phase::Done(_) => {}
                    }
                });
            }
            Transition::Ended { vin, wave, outcome } => self.change_vehicle(vin, |vehicle| {
                vehicle.wave.get_or_insert(*wave);
                vehicle.phase = Phase::Done(outcome.clone());
            }),
            Transition::Confirmed { vin } => self.change_vehicle(vin, |vehicle| {
                vehicle.is_confirmed = true;
                vehicle.phase = Phase::Done(Outcome::succeeded());
            }),
            Transition::Log { vin, lines } => {
                self.change_vehicle(vin, |vehicle| vehicle.log.clone_from(lines));
            }
            Transition::Found { vin, wave, attempt, revision, deadline } => {
                // It had got that far.
                self.wave = self.wave.max(*wave).min(self.plan.waves.len());
                self.change_vehicle(vin, |vehicle| {
                    vehicle.attempts = *attempt;
                    vehicle.wave.get_or_insert(*wave);
                    vehicle.revision = Some(*revision);
                    vehicle.phase = Phase::Changing { deadline: *deadline, is_answered: true };
                });
            }
            Transition::Missed { vin } => {
                self.change_vehicle(vin, |vehicle| vehicle.phase = Phase::Waiting);
            }
            Transition::Soaking { until, .. } => {
                self.soak(Soak::Due, Soak::Running);
                self.stage = Stage::Soaking { until: *until };
            }
            Transition::Soaked { .. } => {
                let has_soaked = matches!(self.stage, Stage::Soaking { .. });
                self.soak(if has_soaked { Soak::Running } else { Soak::Due }, Soak::Over);
                self.stage = Stage::Gate;
            }
            Transition::GatePassed { .. } => self.stage = Stage::Confirming,
            Transition::WavePassed { wave } => {
                self.wave = wave.saturating_add(1).min(self.plan.waves.len());
                self.stage = Stage::Changing;
            }
            Transition::Halted { reason } => {
                if self.stage == Stage::Finished && *reason == Halt::Undo {
                    self.undo();
                }
                self.halt = Some(reason.clone());
            }
            Transition::Resumed { until } => {
                let has_failed = self.halt.as_ref().is_some_and(Halt::is_failure);
                if self.stage == Stage::Finished && self.has_pending() {
                    self.stage = Stage::Changing;
                }
                (self.halt, self.until) = (None, *until);
                for tally in &mut self.tallies {
                    tally.is_accepted |= has_failed && tally.attempted > 0;
                    tally.accepted_failures = tally.failed;
                    tally.accepted_unreachable = tally.unreachable;
                }
            }
            Transition::Retried => self.retry(),
            Transition::UndoStarted => self.undo(),
            Transition::Finished => self.stage = Stage::Finished,
        }
    }

    fn undo(&mut self) {
        (self.stage, self.is_undone) = (Stage::Undoing, true);
        // An earlier undo may not have reached them.
        for vehicle in &mut self.vehicles {
            vehicle.is_undo_sent &= !vehicle.outcome().is_some_and(OutcomeKind::can_be_undone);
        }
    }

    /// Lets those wait again that have failed. They keep their wave, and so their slot.
    fn retry(&mut self) {
        for index in 0..self.vehicles.len() {
            let outcome = self.at(index).and_then(Vehicle::outcome);
            if outcome.is_some_and(OutcomeKind::can_be_retried) {
                self.change(index, |vehicle| vehicle.phase = Phase::Waiting);
            }
        }
        self.halt = None;
        self.stage = Stage::Changing;
        for tally in &mut self.tallies {
            (tally.accepted_failures, tally.accepted_unreachable) =
                (tally.failed, tally.unreachable);
        }
    }

    /// The soak time begins or ends for all that have succeeded, and are so far.
    fn soak(&mut self, from: Soak, to: Soak) {
        for vehicle in self.vehicles.iter_mut().filter(|vehicle| vehicle.has_succeeded(from)) {
            vehicle.soak = to;
        }
    }

    fn change_vehicle(&mut self, vin: &Vin, change: impl FnOnce(&mut Vehicle)) {
        if let Some(index) = self.index(vin) {
            self.change(index, change);
        }
    }

    /// Changes a vehicle, and keeps counts and sets in step.
    fn change(&mut self, index: usize, change: impl FnOnce(&mut Vehicle)) {
        self.register(index, false);
        if let Some(vehicle) = self.vehicles.get_mut(index) {
            change(vehicle);
        }
        self.register(index, true);
    }

    fn register(&mut self, index: usize, is_added: bool) {
        let Some(vehicle) = self.vehicles.get(index) else { return };
        let tally = vehicle.wave.and_then(|wave| self.tallies.get_mut(wave.checked_sub(1)?));
        if let Some(tally) = tally {
            tally.count(vehicle, is_added);
        }
        let put = |set: &mut BTreeSet<usize>, belongs: bool| {
            if is_added && belongs {
                set.insert(index)
            } else {
                set.remove(&index)
            };
        };
        let is_waiting = vehicle.phase == Phase::Waiting;
        let is_new = is_waiting && vehicle.wave.is_none();
        let is_unchanged = is_new && self.plan.unchanged.contains(&vehicle.vin);
        put(&mut self.unchanged, is_unchanged);
        put(&mut self.new, is_new && !is_unchanged);
        put(&mut self.new_online, is_new && !is_unchanged && vehicle.is_online);
        put(&mut self.again, is_waiting && vehicle.wave.is_some());
        put(&mut self.in_flight, vehicle.is_in_flight());
        if let Some(deadline) = vehicle.deadline() {
            let entry = (deadline, index);
            if is_added {
                self.deadlines.insert(entry)
            } else {
                self.deadlines.remove(&entry)
            };
        }
    }
}

impl Vehicle {
    /// A request is being sent.
    fn sent(&mut self, request: RequestKind, deadline: Time, queued: bool) {
        let former = self.cause().cloned();
        let is_again = match self.phase {
            Phase::Changing { .. } => request == RequestKind::Change,
            Phase::Settling { request: before, .. } => request == before,
            Phase::Waiting | Phase::Queued { .. } | Phase::Done(_) => false,
        };
        self.sends = if is_again { self.sends.saturating_add(1) } else { 1 };
        if request == RequestKind::Change {
            self.soak = Soak::Due;
        }
        self.is_undo_sent |= request == RequestKind::Undo;
        self.phase = match (request, former) {
            (RequestKind::Change, _) if queued => Phase::Queued { deadline },
            (RequestKind::Change, _) => Phase::Changing { deadline, is_answered: false },
            (RequestKind::Confirm | RequestKind::Undo, Some(former)) => {
                Phase::Settling { request, deadline, former }
            }
            (RequestKind::Confirm | RequestKind::Undo, None) => return,
        };
    }
}
