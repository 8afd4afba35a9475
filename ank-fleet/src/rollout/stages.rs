//! The stages of a wave, the undo, and the end.

use std::collections::BTreeSet;

use fleet_contract::error::ErrorCode;
use fleet_contract::revision::RollbackMode;

use super::event::{Action, Verdict};
use super::id::RequestKind;
use super::machine::Rollout;
use super::outcome::{Code, OutcomeKind};
use super::plan::OnFailure;
use super::state::{Stage, State};
use super::transition::{Halt, Transition};
use super::vehicle::{Phase, Soak, Vehicle};

/// The exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// All have succeeded, or had the change already.
    Success = 0,
    /// Some have failed, within the limits.
    SomeFailed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Stopped by a limit, a gate, or the operator.
    Stopped = 3,
    /// Only unreachable or pending vehicles are left.
    Left = 4,
    /// There is no broker, or it refuses the login.
    NoBroker = 5,
    /// The vehicles do not trust the request.
    Untrusted = 6,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Rollout {
    /// Goes through the stages as far as possible.
    pub(super) fn run_stages(&mut self) {
        // Each round makes a transition that ends the stage; there are few stages in a wave.
        while self.run_stage() {}
        if self.state.halt().is_some() && self.state.in_flight() == 0 {
            self.halted();
        }
        if self.state.stage() == Stage::Finished {
            self.report(Verdict::Finished);
        }
    }

    /// Runs a stage; true if it is over, and another one follows.
    fn run_stage(&mut self) -> bool {
        let wave = self.state.wave();
        if self.state.stage() == Stage::Undoing {
            return self.run_undo();
        }
        if self.state.halt().is_some() || self.state.stage() == Stage::Finished {
            return false;
        }
        let options = &self.state.plan().options;
        match self.state.stage() {
            Stage::Changing => return self.run_changes(),
            Stage::Soaking { until } => {
                if self.now < until || !self.observe() {
                    return false;
                }
                self.record(Transition::Soaked { wave });
                self.check_limits();
            }
            Stage::Gate if options.gate.is_some() => {
                if !self.is_gate_running {
                    self.is_gate_running = true;
                    self.act(Action::StartGate { wave });
                }
                return false;
            }
            Stage::Gate => self.record(Transition::GatePassed { wave }),
            Stage::Confirming => {
                if !self.confirm() {
                    return false;
                }
                self.check_limits();
                if self.state.halt().is_none() {
                    self.soak_or_pass_wave();
                }
            }
            Stage::Undoing | Stage::Finished => return false,
        }
        self.work = None;
        true
    }

    fn run_changes(&mut self) -> bool {
        self.start_vehicles();
        if self.state.halt().is_some()
            || self.state.in_flight() > 0
            || self.next_vehicle().is_some()
            || self.is_reading_queued()
        {
            return false;
        }
        if self.state.is_last_wave() {
            self.pass_unchanged(usize::MAX);
        }
        let wave = self.state.wave();
        let tally = self.state.tally(wave);
        let (new, _) = self.state.new_vehicles();
        if tally.attempted == 0 && new.is_empty() {
            self.pass_unchanged(usize::MAX);
            self.soak_or_pass_wave();
        } else if tally.attempted == tally.queued + tally.again {
            self.halt(Halt::NoneOnline);
        } else if tally.succeeded == 0 && !tally.is_accepted {
            self.halt(Halt::NoSuccess { wave });
        } else {
            self.soak();
        }
        self.state.halt().is_none()
    }

    fn soak(&mut self) {
        let wave = self.state.wave();
        match self.state.plan().options.soak {
            Some(soak) => {
                self.record(Transition::Soaking { wave, until: self.now.after(soak) });
            }
            None => self.record(Transition::Soaked { wave }),
        }
    }

    /// Ends the wave. Before the end of the last one, those are soaked that have succeeded since the
    /// last soak time has begun: the broker has kept the request for them.
    fn soak_or_pass_wave(&mut self) {
        let options = &self.state.plan().options;
        let is_tried = options.soak.is_some()
            || options.gate.is_some()
            || options.rollback == RollbackMode::UnlessConfirmed;
        let is_due = |vehicle: &Vehicle| vehicle.has_succeeded(Soak::Due);
        if self.state.is_last_wave() && is_tried && self.state.vehicles().iter().any(is_due) {
            self.soak();
        } else {
            self.pass_wave();
        }
    }

    /// Whether a vehicle is being read for which the broker has kept the request.
    fn is_reading_queued(&self) -> bool {
        self.reads.keys().any(|index| self.is_queued(*index))
    }

    fn is_queued(&self, index: usize) -> bool {
        let phase = self.state.at(index).map(|vehicle| &vehicle.phase);
        matches!(phase, Some(Phase::Queued { .. }))
    }

    /// Reads the states at the end of the soak time; true when all are known.
    fn observe(&mut self) -> bool {
        let work = self.take_work(Vehicle::is_soaking);
        let room = self.room(self.reads.len());
        let next = |it: &usize| !self.reads.contains_key(it) && self.is_online(*it);
        let next: Vec<usize> = work.iter().copied().filter(next).take(room).collect();
        // Those that are offline cannot be read; that is normal for vehicles.
        let is_left = work.iter().any(|it| self.is_online(*it));
        self.work = Some(work);
        for index in next {
            self.read(index);
        }
        !is_left
    }

    /// Confirms what has succeeded; true when all have answered.
    fn confirm(&mut self) -> bool {
        if self.state.plan().options.rollback != RollbackMode::UnlessConfirmed {
            return true;
        }
        let mut work = self.take_work(|vehicle| {
            vehicle.has_succeeded(Soak::Over) && vehicle.revision.is_some() && !vehicle.is_confirmed
        });
        work.retain(|index| self.settling(*index).is_none());
        for _ in 0..self.room(self.state.in_flight()) {
            let Some(index) = work.pop_first() else { break };
            self.send_settling(index, RequestKind::Confirm);
        }
        let is_done = work.is_empty() && self.state.in_flight() == 0;
        self.work = Some(work);
        is_done
    }

    fn run_undo(&mut self) -> bool {
        let mut work = self.take_work(is_to_be_undone);
        for _ in 0..self.room(self.state.in_flight()) {
            let next = work.iter().copied().find(|index| self.is_online(*index));
            let Some(index) = next else { break };
            work.remove(&index);
            self.send_settling(index, RequestKind::Undo);
        }
        // The broker keeps the undo as well, where it keeps the change.
        let queued: Vec<usize> = work.iter().copied().filter(|it| self.is_queued(*it)).collect();
        for index in queued {
            work.remove(&index);
            self.send_settling(index, RequestKind::Undo);
        }
        self.work = Some(work);
        if self.state.in_flight() > 0 || self.is_reading_queued() {
            return false;
        }
        self.finish();
        false
    }

    fn room(&self, taken: usize) -> usize {
        self.state.plan().options.parallel.max(1).saturating_sub(taken)
    }

    /// What remains to be done in this stage; at its beginning, all that is meant.
    fn take_work(&mut self, is_meant: impl Fn(&Vehicle) -> bool) -> BTreeSet<usize> {
        self.work.take().unwrap_or_else(|| {
            let vehicles = self.state.vehicles().iter().enumerate();
            vehicles.filter(|(_, vehicle)| is_meant(vehicle)).map(|(index, _)| index).collect()
        })
    }

    pub(super) fn gate_ended(&mut self, wave: usize, result: Result<(), String>) {
        if self.state.stage() != Stage::Gate || wave != self.state.wave() || !self.is_gate_running {
            return;
        }
        self.is_gate_running = false;
        match result {
            Ok(()) => self.record(Transition::GatePassed { wave }),
            Err(message) => self.halt(Halt::Gate { wave, message }),
        }
    }

    fn pass_wave(&mut self) {
        let wave = self.state.wave();
        let is_last = self.state.is_last_wave();
        self.record(Transition::WavePassed { wave });
        if is_last {
            self.finish();
        } else if self.state.plan().options.pause_after == Some(wave) {
            self.halt(Halt::Paused);
        }
    }

    fn finish(&mut self) {
        self.record(Transition::Finished);
        self.is_reported = false;
    }

    /// Nothing is in flight, and nothing new is sent.
    fn halted(&mut self) {
        let Some(halt) = self.state.halt().cloned() else { return };
        if matches!(self.state.stage(), Stage::Undoing | Stage::Finished) {
            return;
        }
        let undoes = self.state.plan().options.on_failure == OnFailure::Undo && halt.is_failure();
        if undoes || halt == Halt::Undo {
            self.work = None;
            self.record(Transition::UndoStarted);
            self.run_undo();
        } else {
            self.report(Verdict::Halted(halt));
        }
    }

    fn report(&mut self, verdict: Verdict) {
        if !self.is_reported {
            self.is_reported = true;
            self.act(Action::Report(verdict));
        }
    }

    /// The exit code for what has happened so far.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        exit_code(&self.state)
    }
}

/// Whether an undo is to be sent to a vehicle.
pub(super) fn is_to_be_undone(vehicle: &Vehicle) -> bool {
    // A command that was killed may not have sent what the broker is to keep, and nobody answers. Twice
    // does no harm.
    if matches!(vehicle.phase, Phase::Queued { .. }) {
        return true;
    }
    let can_be = vehicle.outcome().is_some_and(OutcomeKind::can_be_undone);
    can_be && !vehicle.is_undo_sent && vehicle.wave.is_some()
}

fn exit_code(state: &State) -> ExitCode {
    let (mut failed, mut untrusted, mut left, mut other) = (0, 0, 0, 0);
    for vehicle in state.vehicles() {
        match vehicle.outcome() {
            None | Some(OutcomeKind::Pending | OutcomeKind::Unreachable) => left += 1,
            Some(OutcomeKind::Succeeded | OutcomeKind::Unchanged) => {}
            Some(OutcomeKind::Superseded | OutcomeKind::Undone) => other += 1,
            Some(
                OutcomeKind::Failed
                | OutcomeKind::RolledBack
                | OutcomeKind::Rejected
                | OutcomeKind::TimedOut,
            ) => {
                let code = vehicle.cause().map(|outcome| outcome.code);
                failed += 1;
                untrusted += usize::from(code == Some(Code::Reply(ErrorCode::Untrusted)));
            }
        }
    }
    let is_stopped = match state.halt() {
        Some(Halt::NoSuccess { .. }) => failed + other > 0,
        Some(Halt::Aborted) => true,
        Some(halt) => halt.is_failure(),
        None => false,
    };
    if failed > 0 && failed == untrusted {
        ExitCode::Untrusted
    } else if state.halt() == Some(&Halt::Undo) {
        // What the operator has asked for is that everything is taken back.
        let is_left = |vehicle: &&Vehicle| {
            let is_meant = vehicle.is_undo_sent || is_to_be_undone(vehicle);
            is_meant && vehicle.outcome() != Some(OutcomeKind::Undone)
        };
        // They are offline; the broker may keep the request for them.
        let is_offline = |vehicle: &Vehicle| {
            !vehicle.is_undo_sent || vehicle.outcome() == Some(OutcomeKind::Pending)
        };
        let others: Vec<&Vehicle> = state.vehicles().iter().filter(is_left).collect();
        match others.iter().all(|vehicle| is_offline(vehicle)) {
            true if others.is_empty() => ExitCode::Success,
            true => ExitCode::Left,
            false => ExitCode::SomeFailed,
        }
    } else if is_stopped {
        ExitCode::Stopped
    } else if failed + other > 0 {
        ExitCode::SomeFailed
    } else if left > 0 {
        ExitCode::Left
    } else {
        ExitCode::Success
    }
}
