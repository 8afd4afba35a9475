//! Handles events.

use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::rollout::RolloutProgress;

use super::event::{self, Action, Event, VehicleState};
use super::id::{RequestId, RequestKind};
use super::judge::{self, Verdict, no_answer, not_undone, unsettled};
use super::machine::{MAX_SENT, PRESENCE_TIME, Rollout};
use super::outcome::{Code, Outcome, OutcomeKind};
use super::plan::Change;
use super::state::Stage;
use super::transition::{Halt, Transition};
use super::vehicle::Phase;
use crate::time::Time;
use crate::vin::Vin;

impl Rollout {
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Begin => self.has_begun = true,
            Event::Connected => self.connected(),
            Event::Disconnected => self.disconnected(),
            Event::Presence { vin, is_online } => self.presence(&vin, is_online),
            Event::Reply { request, result } => self.reply(&request, result),
            Event::Found { vin, state } => self.found(&vin, &state),
            Event::Status { vin, progress } => self.status(&vin, &progress),
            Event::StateRead { vin, state } => self.state_read(&vin, &state),
            Event::Log { vin, lines } => {
                if self.state.vehicle(&vin).is_some() {
                    self.record(Transition::Log { vin, lines });
                }
            }
            Event::WorkloadFailed { vin, workload, message } => {
                self.workload_failed(&vin, &workload, message);
            }
            Event::Gate { wave, result } => self.gate_ended(wave, result),
            Event::Tick => {}
            Event::Pause => self.halt(Halt::Paused),
            Event::Resume { until } => self.resume_by_operator(until),
            Event::Abort => self.halt(Halt::Aborted),
            Event::Interrupt => {
                self.has_begun = false;
                self.act(Action::Report(event::Verdict::Interrupted));
            }
            Event::Undo => self.halt(Halt::Undo),
            Event::RetryFailed => {
                if !self.state.is_undone() {
                    self.is_reported = false;
                    self.work = None;
                    self.record(Transition::Retried);
                }
            }
        }
    }

    pub(super) fn disconnected(&mut self) {
        self.is_connected = false;
        self.reads.clear();
    }

    /// Messages may have been missed: those in flight are read, as soon as they are online.
    fn connected(&mut self) {
        self.is_connected = true;
        // At the beginning, the shell waits for the presence.
        self.presence_at = self.has_begun.then(|| self.now.after(PRESENCE_TIME));
        self.interrupted.clone_from(self.state.flying());
        self.stale.extend(self.state.flying());
        for index in self.state.flying() {
            self.looks.heard(*index, self.now);
        }
        let online: Vec<usize> =
            self.stale.iter().copied().filter(|it| self.is_online(*it)).collect();
        for index in online {
            self.read(index);
        }
    }

    fn presence(&mut self, vin: &Vin, is_online: bool) {
        let Some(index) = self.state.index(vin) else { return };
        let was_online = self.is_online(index);
        self.state.set_online(index, is_online);
        let is_in_flight = self.state.flying().contains(&index);
        if is_online && !was_online && (is_in_flight || self.stale.contains(&index)) {
            self.read(index);
        }
    }

    fn reply(&mut self, request: &RequestId, result: Result<Option<u64>, ErrorReply>) {
        if request.rollout != self.state.plan().id {
            return;
        }
        let Some(index) = self.state.index(&request.vin) else { return };
        let Some(vehicle) = self.state.at(index) else { return };
        let vin = vehicle.vin.clone();
        match (request.kind, vehicle.phase.clone()) {
            (
                RequestKind::Change,
                Phase::Changing { is_answered: false, .. } | Phase::Queued { .. },
            ) => match result {
                Ok(revision) => {
                    self.record(Transition::Answered { vin, revision });
                    // Vehicles report what starts; what is only deleted is read.
                    if self.state.plan().operation == Change::Delete {
                        self.read(index);
                    }
                }
                Err(error) => self.end(index, Outcome::of_error(error.code, &error.message)),
            },
            (RequestKind::Confirm, Phase::Settling { request: RequestKind::Confirm, .. }) => {
                match result {
                    Ok(_) => self.record(Transition::Confirmed { vin }),
                    // It may be too late.
                    Err(_) => self.read(index),
                }
            }
            // It has followed a change that the broker has kept.
            (RequestKind::Undo, Phase::Queued { .. } | Phase::Changing { .. })
                if vehicle.is_undo_sent && result.is_ok() =>
            {
                self.end(index, judge::undone_outcome());
            }
            (RequestKind::Undo, Phase::Settling { request: RequestKind::Undo, former, .. }) => {
                match result {
                    Ok(_) => self.end(index, judge::undone_outcome()),
                    // It may have been taken back already, or changed since.
                    Err(error) if error.code == ErrorCode::Rejected => {
                        self.read(index);
                    }
                    Err(error) => self.end(index, not_undone(&former, &error.message, error.code)),
                }
            }
            // The status was faster than the reply.
            (RequestKind::Change, Phase::Done(_)) if vehicle.revision.is_none() => {
                if let Ok(revision @ Some(_)) = result {
                    self.record(Transition::Answered { vin, revision });
                }
            }
            // A second answer, or one to a request that is no longer waited for.
            _ => {}
        }
    }

    fn status(&mut self, vin: &Vin, progress: &RolloutProgress) {
        let is_own = RequestId::parse(&progress.request_id).is_some_and(|id| {
            id.rollout == self.state.plan().id && id.kind == RequestKind::Change && id.vin == *vin
        });
        let Some(index) = self.state.index(vin).filter(|_| is_own) else { return };
        self.heard(index);
        let Some(vehicle) = self.state.at(index) else { return };
        let verdict = judge::progress(progress, self.state.plan().options.rollback);
        match &vehicle.phase {
            Phase::Changing { .. } | Phase::Queued { .. } => self.judged(index, verdict),
            // What has succeeded may be taken back, for example because nobody confirms it.
            Phase::Done(done) if done.outcome == OutcomeKind::Succeeded => {
                if let Verdict::Ended(outcome, _) = verdict
                    && outcome.outcome == OutcomeKind::RolledBack
                {
                    self.end(index, outcome);
                }
            }
            Phase::Waiting | Phase::Settling { .. } | Phase::Done(_) => {}
        }
    }

    /// Acts on a verdict about a vehicle that is being changed.
    fn judged(&mut self, index: usize, verdict: Verdict) {
        let Some(vehicle) = self.state.at(index) else { return };
        let vin = vehicle.vin.clone();
        let is_new = !matches!(vehicle.phase, Phase::Changing { is_answered: true, .. });
        match verdict {
            Verdict::Wait | Verdict::Missing => {}
            Verdict::Accepted(revision) => {
                if is_new || (revision.is_some() && vehicle.revision.is_none()) {
                    self.record(Transition::Answered { vin, revision });
                }
            }
            Verdict::Ended(outcome, revision) => {
                if revision.is_some() && vehicle.revision != revision {
                    self.record(Transition::Answered { vin, revision });
                }
                self.end(index, outcome);
            }
        }
    }

    fn state_read(&mut self, vin: &Vin, state: &VehicleState) {
        let Some(index) = self.state.index(vin) else { return };
        if self.reads.remove(&index).is_none() {
            return;
        }
        let Some(vehicle) = self.state.at(index) else { return };
        let is_late = vehicle.deadline().is_some_and(|deadline| self.now >= deadline);
        match vehicle.phase.clone() {
            Phase::Changing { is_answered, .. } => {
                let rollback = self.state.plan().options.rollback;
                let verdict = judge::changed(state, is_answered, rollback);
                match verdict {
                    Verdict::Missing => self.missing(index, is_late),
                    // Without revisions, the vehicle does not say that they have stayed up.
                    Verdict::Ended(Outcome { outcome: OutcomeKind::Succeeded, .. }, None)
                        if !is_late && !self.looks.has_stayed_up(index) => {}
                    Verdict::Ended(..) => self.judged(index, verdict),
                    verdict => {
                        self.judged(index, verdict);
                        if is_late {
                            self.end(index, judge::timed_out(self.state.plan().options.deadline));
                        }
                    }
                }
            }
            // Without the change, the request still waits at the broker.
            Phase::Queued { deadline } => {
                let rollback = self.state.plan().options.rollback;
                match judge::changed(state, false, rollback) {
                    // The broker has dropped it.
                    Verdict::Missing if self.now >= deadline => {
                        if self.may_start() {
                            self.send_expired(index);
                        } else {
                            self.record(Transition::Missed { vin: vin.clone() });
                        }
                    }
                    verdict => self.judged(index, verdict),
                }
            }
            Phase::Settling { request, former, .. } => {
                self.settled(index, request, &former, state, is_late);
            }
            Phase::Done(outcome) => self.observed(index, &outcome, state),
            Phase::Waiting => {}
        }
    }

    /// A vehicle that is being changed has not got the request.
    fn missing(&mut self, index: usize, is_late: bool) {
        let Some(vehicle) = self.state.at(index) else { return };
        // It had no chance to get it if the connection was lost.
        let had_chance = !self.interrupted.contains(&index);
        if is_late && (had_chance || vehicle.sends >= MAX_SENT) {
            self.end(index, no_answer());
        } else if !self.may_start() {
            let vin = vehicle.vin.clone();
            self.record(Transition::Missed { vin });
        } else if vehicle.sends < MAX_SENT {
            self.send_again(index);
        }
    }

    /// What an earlier start of this roll-out has done with a vehicle.
    fn found(&mut self, vin: &Vin, state: &VehicleState) {
        let Some(index) = self.state.index(vin) else { return };
        let is_new = self.state.at(index).is_some_and(|vehicle| {
            vehicle.phase == Phase::Waiting && vehicle.wave.is_none() && !self.has_begun
        });
        let Some(own) = state.own.filter(|_| is_new) else { return };
        let Some(verdict) = judge::found(state, own, self.state.plan().options.rollback) else {
            return;
        };
        let wave = own.wave.clamp(1, self.state.plan().waves.len().max(1));
        let (attempt, revision) = (own.attempt, own.revision);
        let deadline = self.now.after(self.state.plan().options.deadline);
        let vin = vin.clone();
        self.record(Transition::Found { vin, wave, attempt, revision, deadline });
        self.judged(index, verdict);
    }

    /// The state was read while a confirmation or an undo is in progress.
    fn settled(
        &mut self,
        index: usize,
        request: RequestKind,
        former: &Outcome,
        state: &VehicleState,
        is_late: bool,
    ) {
        let verdict = match request {
            RequestKind::Confirm | RequestKind::Change => judge::confirmed(state),
            RequestKind::Undo => judge::undone(state, former),
        };
        match verdict {
            Verdict::Ended(outcome, _) => self.end(index, outcome),
            Verdict::Accepted(_) => {
                if let Some(vehicle) = self.state.at(index) {
                    let vin = vehicle.vin.clone();
                    self.record(Transition::Confirmed { vin });
                }
            }
            Verdict::Missing
                if (is_late && !self.interrupted.contains(&index))
                    || self.sends(index) >= MAX_SENT =>
            {
                self.end(index, unsettled(former, request));
            }
            Verdict::Wait if is_late => self.end(index, unsettled(former, request)),
            Verdict::Missing => self.send_settling(index, request),
            Verdict::Wait => {}
        }
    }

    /// The state was read in the soak time.
    fn observed(&mut self, index: usize, outcome: &Outcome, state: &VehicleState) {
        // The answer may come after an undo has begun, which has work of its own.
        if !matches!(self.state.stage(), Stage::Soaking { .. }) {
            return;
        }
        if let Some(work) = &mut self.work {
            work.remove(&index);
        }
        self.unanswered.remove(&index);
        if outcome.outcome == OutcomeKind::Succeeded
            && let Some(failed) = judge::soaked(state)
        {
            self.end(index, failed);
        }
    }

    pub(super) fn resume_by_operator(&mut self, until: Option<Time>) {
        let may_resume = match self.state.halt() {
            Some(Halt::Undo | Halt::Aborted) => false,
            Some(_) => true,
            // Vehicles that were offline may be back.
            None => self.state.stage() == Stage::Finished && self.state.has_pending(),
        };
        if !may_resume || self.state.is_undone() {
            return;
        }
        self.is_reported = false;
        self.work = None;
        self.record(Transition::Resumed { until });
    }

    fn workload_failed(&mut self, vin: &Vin, workload: &str, message: String) {
        let Some(index) = self.state.index(vin) else { return };
        let Some(vehicle) = self.state.at(index) else { return };
        if matches!(self.state.stage(), Stage::Soaking { .. }) && vehicle.is_soaking() {
            let failed = Outcome::workload_failed(workload, message);
            self.end(index, Outcome { code: Code::Soak, ..failed });
        }
    }
}
