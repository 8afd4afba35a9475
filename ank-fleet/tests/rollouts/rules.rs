//! What no step of a roll-out may do, whatever its options are: soak, gate, confirmations, rate,
//! `--until` and undo.

use std::collections::{BTreeMap, BTreeSet};

use ank_fleet::rollout::{
    Action, Event, Halt, OutcomeKind, RequestKind, State, Step, Transition, Vehicle,
};
use ank_fleet::{Time, Vin};

/// Remembers what the rules are about.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Waves whose gate has passed since a vehicle of them was changed last.
    passed: BTreeSet<usize>,
    /// When vehicles have succeeded.
    succeeded: BTreeMap<Vin, Time>,
    /// Vehicles to which the change was sent.
    sent: BTreeSet<Vin>,
    /// Vehicles to which a confirmation was sent, and that have not answered. It may be sent again.
    confirming: BTreeSet<Vin>,
    /// The last start.
    started: Option<Time>,
    /// The limit of the last command of the operator, if there was one.
    until: Option<Option<Time>>,
}

impl Rules {
    /// An event is about to be handled.
    pub(crate) fn happens(&mut self, event: &Event) {
        if let Event::Gate { wave, result: Ok(()) } = event {
            self.passed.insert(*wave);
        }
    }

    /// An earlier start has changed the vehicle, perhaps.
    pub(crate) fn found(&mut self, vin: &Vin, is_changed: bool) {
        if is_changed {
            self.sent.insert(vin.clone());
        }
    }

    /// Checks a step.
    pub(crate) fn check(&mut self, step: &Step, state: &State, now: Time) {
        for line in &step.journal {
            match &line.transition {
                Transition::Sent { vin, request: RequestKind::Change, wave, .. } => {
                    self.change(vin, *wave, state, now);
                }
                Transition::Sent { vin, request: RequestKind::Confirm, .. } => {
                    self.confirmation(vin, state, now);
                }
                Transition::Sent { vin, request: RequestKind::Undo, .. } => {
                    assert!(self.sent.contains(vin), "{vin} was not changed by this roll-out");
                }
                Transition::Ended { vin, outcome, .. } => {
                    self.confirming.remove(vin);
                    if outcome.outcome == OutcomeKind::Succeeded {
                        self.succeeded.insert(vin.clone(), line.at);
                    }
                }
                Transition::Confirmed { vin } => {
                    self.confirming.remove(vin);
                }
                Transition::Resumed { until } => self.until = Some(*until),
                Transition::UndoStarted => {
                    assert_eq!(state.halt().map(may_undo), Some(true), "{:?}", state.halt());
                }
                _ => {}
            }
        }
        for action in &step.actions {
            if let Action::Send { request, expires, .. } = action
                && request.kind == RequestKind::Change
                && let Some(until) = self.until(state)
            {
                assert!(*expires <= until, "the broker may deliver it after --until");
            }
        }
    }

    fn until(&self, state: &State) -> Option<Time> {
        self.until.unwrap_or(state.plan().options.until)
    }

    fn change(&mut self, vin: &Vin, wave: usize, state: &State, now: Time) {
        let until = self.until(state);
        assert!(until.is_none_or(|until| now < until), "sent to {vin} after --until");
        // What was lost is sent again at once.
        let is_start = self.sent.insert(vin.clone());
        if let (Some(rate), true) = (state.plan().options.rate, is_start) {
            let next = self.started.map(|started| started.after(rate.interval()));
            assert!(next.is_none_or(|next| now >= next), "{vin} is started above the rate");
            self.started = Some(now);
        }
        self.passed.remove(&wave);
    }

    fn confirmation(&mut self, vin: &Vin, state: &State, now: Time) {
        // What was lost is sent again.
        if !self.confirming.insert(vin.clone()) {
            return;
        }
        let options = &state.plan().options;
        if let Some(soak) = options.soak {
            let since = self.succeeded.get(vin).map(|succeeded| now.since(*succeeded));
            assert!(since.is_some_and(|since| since >= soak), "{vin} is confirmed before its soak");
        }
        let has_passed = |wave| self.passed.contains(&wave);
        let wave = state.vehicle(vin).and_then(|vehicle: &Vehicle| vehicle.wave);
        assert!(
            options.gate.is_none() || wave.is_some_and(has_passed) || has_passed(state.wave()),
            "{vin} is confirmed before the gate"
        );
    }
}

fn may_undo(halt: &Halt) -> bool {
    halt.is_failure() || *halt == Halt::Undo
}
