//! Deadlines and limits.

use super::Rollout;
use super::events::no_answer;
use super::id::RequestKind;
use super::judge::not_settled;
use super::transition::{Halt, Transition};
use super::vehicle::Phase;
use crate::time::Time;

impl Rollout {
    /// Does all that follows from the state and the time.
    pub(super) fn advance(&mut self) {
        // Presence and answers are unknown without a connection, so nothing is judged.
        if !self.is_connected || !self.has_begun {
            return;
        }
        self.expire_reads();
        self.expire_deadlines();
        self.check_limits();
        self.run_stages();
    }

    /// Gives up reads without an answer.
    fn expire_reads(&mut self) {
        let expired: Vec<usize> =
            self.reads.iter().filter(|(_, until)| **until <= self.now).map(|it| *it.0).collect();
        for index in expired {
            self.reads.remove(&index);
            if let Some(work) = &mut self.work {
                work.remove(&index);
            }
            let deadline = self.state.at(index).and_then(super::Vehicle::deadline);
            if deadline.is_some_and(|deadline| deadline <= self.now) {
                self.give_up(index);
            }
        }
    }

    /// Reads the state of vehicles whose deadline has passed: messages may have been missed.
    fn expire_deadlines(&mut self) {
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
            Some(Phase::Changing { is_answered: true, .. }) => self.end(index, not_settled()),
            Some(Phase::Changing { is_answered: false, .. }) => self.end(index, no_answer()),
            Some(Phase::Settling { request, former, .. }) => {
                self.unsettled(index, request, &former);
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

    /// Sends nothing new from now on. What an operator wants comes before what has happened, and
    /// a failure before a pause.
    pub(super) fn halt(&mut self, reason: Halt) {
        let rank = |halt: &Halt| match halt {
            Halt::Undo => 3,
            Halt::Aborted => 2,
            halt if halt.is_failure() => 1,
            _ => 0,
        };
        let is_over = matches!(self.state.stage(), super::Stage::Finished | super::Stage::Undoing);
        let is_undo = reason == Halt::Undo && self.state.stage() == super::Stage::Finished;
        let is_news = self.state.halt().is_none_or(|halt| rank(&reason) > rank(halt));
        if is_undo || (is_news && !is_over) {
            self.is_reported = false;
            if is_undo {
                self.work = None;
            }
            self.record(Transition::Halted { reason });
        }
    }

    pub(super) fn resume_by_operator(&mut self, until: Option<Time>) {
        let may_resume = match self.state.halt() {
            Some(Halt::Undo | Halt::Aborted) => false,
            Some(_) => true,
            // Vehicles that were offline may be back.
            None => self.state.stage() == super::Stage::Finished && self.state.has_pending(),
        };
        if !may_resume {
            return;
        }
        self.is_reported = false;
        self.work = None;
        self.record(Transition::Resumed { until });
    }

    /// The kinds of requests that a vehicle is settling with.
    pub(super) fn settling(&self, index: usize) -> Option<RequestKind> {
        match self.state.at(index).map(|vehicle| &vehicle.phase) {
            Some(Phase::Settling { request, .. }) => Some(*request),
            _ => None,
        }
    }
}
