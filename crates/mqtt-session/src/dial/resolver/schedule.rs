//! Which name server is asked when, for one name and one family (`res_send` of glibc): one after
//! the other, each again as often as there are attempts. The first answer counts, from whichever
//! of them, as long as the question is open.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::config::Asking;
use super::outcome::{Failure, Outcome};

/// Shortest time for an answer.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask this name server, again or for the first time.
    Ask(usize),
    /// Wait for an answer, until this time at the latest.
    Wait(Instant),
    /// The question has ended.
    End(Outcome),
}

/// What a name server has done other than to give an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    /// It cannot be reached.
    Unreachable,
    /// It has failed, temporarily.
    Failed,
    /// It does not want to answer, or does not understand the question.
    Refused,
}

/// The questions to the name servers.
#[derive(Debug)]
pub(super) struct Schedule {
    asking: Asking,
    servers: usize,
    /// The name server that is asked first.
    first: usize,
    /// How many questions have ended without an answer.
    position: usize,
    /// Until when the question at `position` waits for its answer, once it is asked.
    until: Option<Instant>,
    /// The latest of each name server.
    complaints: BTreeMap<usize, Complaint>,
    outcome: Option<Outcome>,
}

impl Schedule {
    /// `random` chooses the first name server if they rotate.
    pub(super) fn new(servers: usize, asking: &Asking, random: u8) -> Self {
        let first = match asking.rotate {
            true => usize::from(random).checked_rem(servers).unwrap_or(0),
            false => 0,
        };
        Self {
            asking: asking.clone(),
            servers,
            first,
            position: 0,
            until: None,
            complaints: BTreeMap::new(),
            outcome: None,
        }
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Instant) -> Action {
        if let Some(outcome) = &self.outcome {
            return Action::End(outcome.clone());
        }
        if let Some(until) = self.until {
            if now < until {
                return Action::Wait(until);
            }
            self.position += 1;
            self.until = None;
        }
        let attempts = usize::try_from(self.asking.attempts).unwrap_or(usize::MAX);
        if self.position >= self.servers.saturating_mul(attempts) {
            return Action::End(Outcome::Failure(self.failure()));
        }
        self.until = Some(now + self.patience());
        let server = self.current();
        self.complaints.remove(&server);
        Action::Ask(server)
    }

    /// A name server has answered.
    pub(super) fn answered(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    /// A name server does not answer: the next one need not wait.
    pub(super) fn complained(&mut self, server: usize, complaint: Complaint, now: Instant) {
        self.complaints.insert(server, complaint);
        if server == self.current() && self.until.is_some() {
            self.until = Some(now);
        }
    }

    fn current(&self) -> usize {
        (self.first + self.position).checked_rem(self.servers).unwrap_or(0)
    }

    /// How long the current question waits alone. The later a server comes, the longer; all of
    /// them together have about `timeout` for each.
    fn patience(&self) -> Duration {
        let place = self.position.checked_rem(self.servers).unwrap_or(0);
        let timeout = self.asking.timeout;
        if place == 0 {
            return timeout;
        }
        let doubled = timeout.saturating_mul(1 << place.min(8));
        let servers = u32::try_from(self.servers).unwrap_or(u32::MAX);
        doubled.checked_div(servers).unwrap_or(timeout).max(MIN_TIMEOUT)
    }

    fn failure(&self) -> Failure {
        let complaints = || self.complaints.values();
        if self.complaints.len() < self.servers || self.servers == 0 {
            return match complaints().any(|complaint| *complaint == Complaint::Failed) {
                true => Failure::Server,
                false => Failure::NoAnswer,
            };
        }
        if complaints().all(|complaint| *complaint == Complaint::Refused) {
            Failure::Refused
        } else if complaints().any(|complaint| *complaint == Complaint::Failed) {
            Failure::Server
        } else {
            Failure::NoAnswer
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dial::resolver::config::Config;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule(servers: usize, options: &str) -> Schedule {
        let config = Config::parse(format!("options {options}").as_bytes(), "");
        Schedule::new(servers, &config.asking, 1)
    }

    /// Lets nobody answer. Returns who is asked, after how many seconds, and when it ends.
    fn silence(mut schedule: Schedule) -> (Vec<(usize, u64)>, u64) {
        let start = Instant::now();
        let mut now = start;
        let mut asked = Vec::new();
        loop {
            match schedule.next(now) {
                Action::Ask(server) => asked.push((server, (now - start).as_secs())),
                Action::Wait(until) => now = until,
                Action::End(outcome) => {
                    assert_eq!(outcome, Outcome::Failure(Failure::NoAnswer));
                    return (asked, (now - start).as_secs());
                }
            }
        }
    }

    #[test]
    fn silent_name_servers_are_asked_in_turn_at_the_times_of_glibc() {
        assert_eq!(silence(schedule(1, "")), (vec![(0, 0), (0, 5)], 10));
        assert_eq!(silence(schedule(2, "")), (vec![(0, 0), (1, 5), (0, 10), (1, 15)], 20));
        assert_eq!(silence(schedule(1, "timeout:2 attempts:1")), (vec![(0, 0)], 2));
        let three = vec![(0, 0), (1, 6), (2, 10), (0, 18), (1, 24), (2, 28)];
        assert_eq!(silence(schedule(3, "timeout:6")), (three, 36));
        let rotated = vec![(1, 0), (2, 3), (0, 5), (1, 9), (2, 12), (0, 14)];
        assert_eq!(silence(schedule(3, "timeout:3 rotate")), (rotated, 18));
        // At least a second for each.
        let (_, end) = silence(schedule(3, "timeout:1 attempts:1"));
        assert_eq!(end, 3);
        assert_eq!(silence(schedule(0, "rotate")), (vec![], 0));
        let (asked, end) = silence(schedule(3, "timeout:99 attempts:99"));
        assert_eq!((asked.len(), end), (15, 450));
    }

    #[test]
    fn a_name_server_that_does_not_want_does_not_delay_the_next_one() {
        let mut schedule = schedule(2, "");
        let now = Instant::now();
        assert_eq!(schedule.next(now), Action::Ask(0));
        schedule.complained(0, Complaint::Refused, now + SECOND);
        assert_eq!(schedule.next(now + SECOND), Action::Ask(1));
        // A late complaint of the first one does not end the wait for the second.
        schedule.complained(0, Complaint::Failed, now + 2 * SECOND);
        assert_eq!(schedule.next(now + 2 * SECOND), Action::Wait(now + 6 * SECOND));
        let outcome = Outcome::Failure(Failure::NoName);
        schedule.answered(outcome.clone());
        schedule.answered(Outcome::Failure(Failure::NoData));
        assert_eq!(schedule.next(now + 2 * SECOND), Action::End(outcome));
    }

    #[test]
    fn complaints_decide_together() {
        use Complaint::{Failed, Refused, Unreachable};
        for (complaints, expected) in [
            (&[Some(Refused), Some(Refused)][..], Failure::Refused),
            (&[Some(Refused), Some(Unreachable)], Failure::NoAnswer),
            (&[Some(Refused), None], Failure::NoAnswer),
            (&[Some(Failed), None], Failure::Server),
            (&[Some(Failed), Some(Refused)], Failure::Server),
            (&[Some(Unreachable), Some(Unreachable)], Failure::NoAnswer),
        ] {
            let mut schedule = schedule(complaints.len(), "");
            let mut now = Instant::now();
            let failure = loop {
                match schedule.next(now) {
                    Action::Ask(server) => {
                        if let Some(complaint) = complaints.get(server).unwrap() {
                            schedule.complained(server, *complaint, now);
                        }
                    }
                    Action::Wait(until) => now = until,
                    Action::End(outcome) => break outcome,
                }
            };
            assert_eq!(failure, Outcome::Failure(expected), "{complaints:?}");
        }
    }
}
