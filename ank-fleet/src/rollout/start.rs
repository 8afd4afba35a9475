//! Sends requests: which vehicle is next, and how many at once.

use super::event::Action;
use super::id::{RequestId, RequestKind};
use super::machine::Rollout;
use super::outcome::{Code, Outcome, OutcomeKind};
use super::transition::{Halt, Transition};
use super::vehicle::{Phase, Vehicle};
use crate::time::Time;

impl Rollout {
    /// Starts as many vehicles as waves, `--parallel` and `--rate` allow.
    pub(super) fn start_vehicles(&mut self) {
        while let Some(index) = self.next_vehicle() {
            if self.is_after_until() {
                self.halt(Halt::Until);
                return;
            }
            if !self.take_turn() {
                return;
            }
            self.pass_unchanged(index);
            let options = &self.state.plan().options;
            let (deadline, is_queued) = match options.queue.filter(|_| !self.is_online(index)) {
                Some(queue) => (self.limited(self.now.after(queue)), true),
                None => (self.now.after(options.deadline), false),
            };
            self.send_change(index, deadline, is_queued);
        }
    }

    /// The next vehicle that may be started: one that is attempted again has its place in a wave,
    /// another one needs a free one.
    pub(super) fn next_vehicle(&self) -> Option<usize> {
        let options = &self.state.plan().options;
        let is_full = self.state.in_flight() >= options.parallel.max(1);
        let may_start = |index: &usize| !is_full && self.is_online(*index);
        let queues = options.queue.is_some();
        let again = self.state.again().iter().copied();
        let again = again.into_iter().find(|it| may_start(it) || (queues && !self.is_online(*it)));
        if again.is_some() || self.state.free_slots() == 0 {
            return again;
        }
        let (new, online) = self.state.new_vehicles();
        let online = online.first().copied().filter(|_| !is_full);
        if !queues {
            return online;
        }
        let offline = new.iter().copied().find(|index| !self.is_online(*index));
        match (online, offline) {
            (Some(online), Some(offline)) => Some(online.min(offline)),
            (online, offline) => online.or(offline),
        }
    }

    /// With a rate, whether another vehicle may be started now.
    fn take_turn(&mut self) -> bool {
        let Some(rate) = self.state.plan().options.rate else { return true };
        if let Some(next) = self.next_start.filter(|next| *next > self.now) {
            self.next_start = Some(next);
            return false;
        }
        self.next_start = Some(self.now.after(rate.interval()));
        true
    }

    /// Ends it for vehicles before this one that have the change already.
    pub(super) fn pass_unchanged(&mut self, before: usize) {
        let passed: Vec<usize> = self.state.unchanged().range(..before).copied().collect();
        for index in passed {
            let message = "the vehicle has it already";
            self.end(index, Outcome::new(OutcomeKind::Unchanged, Code::Unchanged, message));
        }
    }

    /// Whether a change may be sent at all.
    pub(super) fn may_start(&self) -> bool {
        self.state.halt().is_none() && !self.is_after_until()
    }

    fn is_after_until(&self) -> bool {
        self.state.until().is_some_and(|until| self.now >= until)
    }

    /// The broker must not deliver a change after `--until`.
    fn limited(&self, time: Time) -> Time {
        self.state.until().map_or(time, |until| time.min(until))
    }

    /// Sends the change once more to a vehicle that has not got it.
    pub(super) fn send_again(&mut self, index: usize) {
        let deadline = self.state.at(index).and_then(Vehicle::deadline);
        if let Some(deadline) = deadline {
            let deadline = self.renewed(deadline);
            self.send_change(index, deadline, false);
        }
    }

    /// A deadline; if it has passed without a connection, a new one.
    fn renewed(&self, deadline: Time) -> Time {
        if deadline > self.now {
            deadline
        } else {
            self.now.after(self.state.plan().options.deadline)
        }
    }

    /// Sends the change to a vehicle for which the broker no longer keeps it.
    pub(super) fn send_expired(&mut self, index: usize) {
        let deadline = self.now.after(self.state.plan().options.deadline);
        self.send_change(index, deadline, false);
    }

    fn send_change(&mut self, index: usize, deadline: Time, is_queued: bool) {
        self.send(index, RequestKind::Change, deadline, is_queued);
        if is_queued {
            self.stale.insert(index);
        }
    }

    /// Sends a confirmation or an undo.
    pub(super) fn send_settling(&mut self, index: usize, request: RequestKind) {
        let (deadline, is_queued) = match self.state.at(index).map(|vehicle| &vehicle.phase) {
            Some(Phase::Settling { deadline, .. }) => (self.renewed(*deadline), false),
            // The broker delivers it after the change, and keeps it no shorter.
            Some(Phase::Queued { deadline }) => (self.renewed(*deadline), true),
            _ => (self.now.after(self.state.plan().options.deadline), false),
        };
        self.send(index, request, deadline, is_queued);
    }

    fn send(&mut self, index: usize, kind: RequestKind, deadline: Time, queued: bool) {
        let Some(vehicle) = self.state.at(index) else { return };
        let (vin, revision) = (vehicle.vin.clone(), vehicle.revision);
        let wave = vehicle.wave.unwrap_or(self.state.wave());
        let attempt = vehicle.attempts.saturating_add(1);
        let rollout = self.state.plan().id.clone();
        let request = RequestId { rollout, kind, wave, vin: vin.clone(), attempt };
        self.record(Transition::Sent { vin, request: kind, wave, attempt, deadline, queued });
        self.interrupted.remove(&index);
        let revision = revision.filter(|_| kind == RequestKind::Confirm);
        let expires = if kind == RequestKind::Change { self.limited(deadline) } else { deadline };
        self.act(Action::Send { request, revision, expires });
    }
}
