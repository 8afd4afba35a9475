//! A step of the roll-out: an event, and all that follows from it.

use super::event::{Action, Event, Step};
use super::machine::{LATE, Rollout};
use super::state::Stage;
use crate::time::Time;

impl Rollout {
    /// Handles an event. The lines of the result must be in the journal before its actions are
    /// done.
    pub fn step(&mut self, event: Event, now: Time) -> Step {
        let has_slept = self.deadline().is_some_and(|deadline| now > deadline.after(LATE));
        // The system clock may be set back.
        self.now = self.now.max(now);
        // What is known is old, and what is sent may go into a connection that has been lost
        // meanwhile: without answers, deadlines would pass.
        if has_slept {
            self.disconnected();
            self.act(Action::Reconnect);
        }
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
        if self.presence_at.is_some() {
            return self.presence_at;
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
        let unread = unread.map(|(time, _)| *time);
        let times = [unread, self.looks.next(), soak, until, start];
        reads.chain(times.into_iter().flatten()).min()
    }

    /// Does all that follows from the state and the time.
    fn advance(&mut self) {
        // Presence and answers are unknown without a connection, so nothing is judged.
        if !self.is_connected || !self.has_begun {
            return;
        }
        self.presence_at = self.presence_at.filter(|time| *time > self.now);
        if self.presence_at.is_some() {
            return;
        }
        self.expire_reads();
        self.expire_deadlines();
        self.look();
        self.check_limits();
        self.run_stages();
    }
}
