//! Deadlines, looks at silent vehicles, and limits.

use super::judge::{no_answer, timed_out, unsettled};
use super::machine::Rollout;
use super::transition::Halt;
use super::vehicle::{Phase, Vehicle};
use crate::time::Time;

impl Rollout {
    /// Gives up reads without an answer.
    pub(super) fn expire_reads(&mut self) {
        let expired: Vec<usize> =
            self.reads.iter().filter(|(_, until)| **until <= self.now).map(|it| *it.0).collect();
        for index in expired {
            self.reads.remove(&index);
            if let Some(work) = self.work.as_mut().filter(|work| work.contains(&index))
                && !self.unanswered.insert(index)
            {
                work.remove(&index);
                self.unanswered.remove(&index);
            }
            let deadline = self.state.at(index).and_then(Vehicle::deadline);
            if deadline.is_some_and(|deadline| deadline <= self.now) {
                self.give_up(index);
            }
        }
    }

    /// Reads the state of vehicles in flight of which nothing was heard. Also of those that are
    /// offline, as far as is known: on a broker without retained messages, that may be wrong.
    pub(super) fn look(&mut self) {
        for index in self.looks.due(self.now) {
            if self.state.flying().contains(&index) {
                self.read(index);
            } else {
                self.looks.remove(index);
            }
        }
    }

    /// Reads the state of vehicles whose deadline has passed: messages may have been missed.
    pub(super) fn expire_deadlines(&mut self) {
        let end = (self.now, usize::MAX);
        let passed: Vec<(Time, usize)> = self.state.deadlines().range(..=end).copied().collect();
        for (_, index) in passed {
            if self.reads.contains_key(&index) {
                continue;
            }
            if self.is_online(index) {
                self.read(index);
            } else {
                self.give_up(index);
            }
        }
    }

    /// Ends it for a vehicle whose deadline has passed, and that does not answer.
    fn give_up(&mut self, index: usize) {
        match self.state.at(index).map(|vehicle| vehicle.phase.clone()) {
            Some(Phase::Changing { is_answered: true, .. }) => {
                self.end(index, timed_out(self.state.plan().options.deadline));
            }
            Some(Phase::Changing { is_answered: false, .. }) => self.end(index, no_answer()),
            Some(Phase::Settling { request, former, .. }) => {
                self.end(index, unsettled(&former, request));
            }
            Some(Phase::Waiting | Phase::Queued { .. } | Phase::Done(_)) | None => {}
        }
    }

    /// Halts if too many vehicles of a wave have failed.
    pub(super) fn check_limits(&mut self) {
        let options = &self.state.plan().options;
        for wave in 1..=self.state.wave() {
            let (tally, size) = (self.state.tally(wave), self.state.wave_size(wave));
            let reason = if tally.new_failures() > options.max_failures.of(size) {
                Halt::Failures { wave }
            } else if tally.new_unreachable() > options.max_unreachable.of(size) {
                Halt::Unreachable { wave }
            } else {
                continue;
            };
            self.halt(reason);
            return;
        }
    }
}
