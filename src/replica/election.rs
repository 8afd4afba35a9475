//! Decides when a standby replica becomes active. Its inputs are statuses and the time, its
//! outputs are actions and the next deadline.

use std::ops::Range;
use std::time::Duration;

use fleet_contract::status::{Availability, ConnectorStatus};
use service_kit::random;
use tokio::time::Instant;

/// How long a standby waits before it takes over. An active replica that has lost its
/// connection usually reconnects sooner.
const DELAY: Range<Duration> = Duration::from_millis(500)..Duration::from_millis(1500);

/// How much longer a replica waits that has heard no active one: it does not know the records of
/// subscriptions, which others may know.
const UNINFORMED_DELAY: Duration = Duration::from_millis(1000);

/// How much longer a replica without a link to Ankaios waits.
const UNLINKED_DELAY: Duration = Duration::from_millis(2000);

/// How often the leader is asked for its status, within the keep-alive time, before it is given up.
const MAX_QUESTIONS: u32 = 3;

/// A message on the status topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StatusSeen {
    /// `None` if the payload is empty or not the status of a connector.
    pub(super) status: Option<ConnectorStatus>,
    /// Whether the broker had retained it before this replica subscribed.
    pub(super) retained: bool,
}

/// Who is active, as far as this replica can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leader {
    /// No connector is active.
    None {
        /// When this replica takes over if it has a link to Ankaios; without, it waits longer.
        take_over_at: Instant,
    },
    /// A connector is active.
    Active {
        /// Its name; `None` if it is not a replica.
        name: Option<String>,
        /// `None` if it is not a replica: it does not answer questions.
        check: Option<Check>,
    },
}

/// The check that the leader has not ended without a last will: that of a client whose broker, or
/// whose node of a cluster, has crashed is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    /// The number of questions without an answer.
    asked: u32,
    /// When to ask, or to give up the leader.
    next: Instant,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing before the next deadline.
    Wait,
    /// Ask the leader to publish its status again.
    Ask,
    /// The leader has not answered and no longer counts as active.
    GiveUpLeader,
    /// Become active.
    TakeOver,
}

/// The state of a standby replica during one connection. The first question is asked when the
/// connection is opened; this type decides on the others.
#[derive(Debug)]
pub(super) struct Election {
    replica: String,
    /// How long the leader has for an answer to all questions.
    patience: Duration,
    /// Whether a leader of the same name is the previous process of this replica.
    succeeds_itself: bool,
    is_linked: bool,
    /// Whether the records of a leader are known.
    is_informed: bool,
    leader: Leader,
}

impl StatusSeen {
    /// The name and `since` of a replica that is active now: they differ for each of its sessions.
    pub(super) fn active(&self) -> Option<(&str, &str)> {
        let status = self.status.as_ref().filter(|_| !self.retained)?;
        let is_online = status.status == Availability::Online;
        let (replica, since) = (status.replica.as_deref()?, status.since.as_deref()?);
        is_online.then_some((replica, since))
    }
}

impl Election {
    /// `patience` is how long the leader has for an answer. With `succeeds_itself`, a leader of
    /// the same name counts as the previous process of this replica if its status is the first
    /// that is seen.
    pub(super) fn new(
        replica: String,
        patience: Duration,
        succeeds_itself: bool,
        now: Instant,
    ) -> Self {
        let leader = leaderless(false, now);
        Self { replica, patience, succeeds_itself, is_linked: false, is_informed: false, leader }
    }

    /// Continues with the leader of the previous connection, which was lost.
    pub(super) fn expect(&mut self, leader: String, now: Instant) {
        let check = Some(self.check(now));
        self.leader = Leader::Active { name: Some(leader), check };
    }

    /// Records that the records of the leader are known.
    pub(super) fn inform(&mut self) {
        self.is_informed = true;
    }

    /// The check of a leader that may be gone. The first question was asked when the connection was
    /// opened.
    fn check(&self, now: Instant) -> Check {
        Check { asked: 1, next: now + self.patience / MAX_QUESTIONS }
    }

    /// Who is active.
    pub(super) fn leader(&self) -> &Leader {
        &self.leader
    }

    /// Records whether there is a link to Ankaios.
    pub(super) fn set_linked(&mut self, is_linked: bool) {
        self.is_linked = is_linked;
    }

    /// Records a status. Returns whether the leader has changed.
    pub(super) fn saw(&mut self, seen: &StatusSeen, now: Instant) -> bool {
        let succeeds_itself = std::mem::take(&mut self.succeeds_itself);
        let leader = match &seen.status {
            Some(ConnectorStatus { status: Availability::Online, replica, .. }) => {
                if succeeds_itself && replica.as_ref() == Some(&self.replica) {
                    Leader::None { take_over_at: now }
                } else {
                    let check = if seen.retained {
                        self.check(now)
                    } else {
                        // Not all standbys ask at once: the answer to one is for all.
                        let jitter = random::duration(&(Duration::ZERO..self.patience / 4));
                        Check { asked: 0, next: now + self.patience + jitter }
                    };
                    let check = replica.is_some().then_some(check);
                    Leader::Active { name: replica.clone(), check }
                }
            }
            // This includes an unreadable status: the next leader replaces it.
            _ => leaderless(self.is_informed, now),
        };
        let has_changed = match (&leader, &self.leader) {
            (Leader::Active { name, .. }, Leader::Active { name: former, .. }) => name != former,
            (Leader::None { .. }, Leader::None { .. }) => false,
            _ => true,
        };
        self.leader = leader;
        has_changed
    }

    /// When to call [`Election::act`] again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.leader {
            Leader::None { take_over_at } if self.is_linked => Some(*take_over_at),
            Leader::None { take_over_at } => Some(*take_over_at + UNLINKED_DELAY),
            Leader::Active { check, .. } => check.as_ref().map(|check| check.next),
        }
    }

    /// Decides what to do now.
    pub(super) fn act(&mut self, now: Instant) -> Action {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Action::Wait;
        }
        match &mut self.leader {
            Leader::None { .. } => Action::TakeOver,
            Leader::Active { check: Some(check), .. } if check.asked < MAX_QUESTIONS => {
                check.asked += 1;
                check.next = now + self.patience / MAX_QUESTIONS;
                Action::Ask
            }
            Leader::Active { .. } => {
                self.leader = leaderless(self.is_informed, now);
                Action::GiveUpLeader
            }
        }
    }
}

fn leaderless(is_informed: bool, now: Instant) -> Leader {
    let extra = if is_informed { Duration::ZERO } else { UNINFORMED_DELAY };
    Leader::None { take_over_at: now + random::duration(&DELAY) + extra }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fleet_contract::Labels;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn seen(online: bool, replica: Option<&str>, retained: bool) -> StatusSeen {
        let status = ConnectorStatus {
            status: if online { Availability::Online } else { Availability::Offline },
            version: String::new(),
            since: None,
            replica: replica.map(str::to_owned),
            fleet: None,
            labels: Labels::default(),
            link: None,
            revision: None,
            trust: None,
            degraded: Vec::new(),
        };
        StatusSeen { status: Some(status), retained }
    }

    fn election(succeeds_itself: bool, now: Instant) -> Election {
        let mut election = Election::new("b".into(), PATIENCE, succeeds_itself, now);
        election.set_linked(true);
        election
    }

    /// How long until it takes over, if nothing is seen.
    fn takes_over_in(election: &Election, now: Instant) -> Option<Duration> {
        let is_leaderless = matches!(election.leader, Leader::None { .. });
        is_leaderless.then(|| election.deadline().unwrap() - now)
    }

    #[test]
    fn without_a_leader_it_takes_over_after_a_random_time() {
        let now = Instant::now();
        let mut election = election(false, now);
        let wait = takes_over_in(&election, now).unwrap() - UNINFORMED_DELAY;
        assert!(DELAY.contains(&wait), "others may have heard an active one");
        assert_eq!(election.act(now), Action::Wait);
        assert_eq!(election.act(now + UNINFORMED_DELAY + DELAY.end), Action::TakeOver);
        assert!(election.saw(&seen(true, Some("a"), false), now));
        assert_eq!(takes_over_in(&election, now), None);
        assert_eq!(election.act(now + DELAY.end), Action::Wait);
        assert!(!election.saw(&seen(true, Some("a"), false), now), "it is known");
        election.inform();
        for gone in [seen(false, Some("a"), false), StatusSeen { status: None, retained: false }] {
            election.saw(&seen(true, Some("a"), false), now);
            assert!(election.saw(&gone, now));
            assert!(DELAY.contains(&takes_over_in(&election, now).unwrap()));
        }
    }

    #[test]
    fn a_replica_without_a_link_to_ankaios_comes_after_all_others() {
        let now = Instant::now();
        let mut unlinked = election(false, now);
        unlinked.inform();
        unlinked.saw(&seen(true, Some("a"), false), now);
        unlinked.saw(&seen(false, Some("a"), false), now);
        unlinked.set_linked(false);
        let uninformed = UNINFORMED_DELAY + DELAY.end;
        assert!(takes_over_in(&unlinked, now).unwrap() >= uninformed);
        assert_eq!(unlinked.act(now + uninformed), Action::Wait);
        unlinked.set_linked(true);
        assert_eq!(unlinked.act(now + DELAY.end), Action::TakeOver);
    }

    #[test]
    fn the_last_will_of_a_replica_that_was_replaced_does_not_count() {
        let now = Instant::now();
        let mut election = election(false, now);
        election.saw(&seen(false, Some("a"), false), now);
        election.saw(&seen(true, Some("c"), false), now);
        election.saw(&seen(false, Some("a"), false), now);
        assert!(takes_over_in(&election, now).is_some());
        election.saw(&seen(true, Some("c"), false), now);
        assert_eq!(takes_over_in(&election, now), None);
    }

    #[test]
    fn a_replica_succeeds_itself_at_once_but_only_at_first() {
        let now = Instant::now();
        let own = seen(true, Some("b"), true);
        let mut first = election(true, now);
        first.saw(&own, now);
        assert_eq!(first.act(now), Action::TakeOver);
        let mut later = election(true, now);
        later.saw(&seen(true, Some("a"), true), now);
        later.saw(&own, now);
        assert_eq!(takes_over_in(&later, now), None);
    }

    /// Asks the leader until it is given up, without an answer; returns how long that took.
    fn asks_in_vain(election: &mut Election, begin: Instant) -> Duration {
        let mut now = begin;
        loop {
            assert_eq!(election.act(now), Action::Wait);
            now = election.deadline().unwrap();
            match election.act(now) {
                Action::Ask => {}
                Action::GiveUpLeader => break,
                other => unreachable!("{other:?}"),
            }
        }
        assert!(takes_over_in(election, now).unwrap() < UNINFORMED_DELAY + DELAY.end);
        now - begin
    }

    #[test]
    fn the_leader_of_a_connection_that_was_lost_still_counts_and_is_asked() {
        let now = Instant::now();
        let mut first = election(false, now);
        first.expect("a".into(), now);
        assert_eq!(asks_in_vain(&mut first, now), PATIENCE);
        let mut second = election(false, now);
        second.expect("a".into(), now);
        assert!(!second.saw(&seen(true, Some("a"), false), now), "it has answered");
        second.saw(&seen(false, Some("a"), false), now);
        assert!(takes_over_in(&second, now).is_some());
    }

    #[test]
    fn a_leader_that_may_be_gone_is_asked_and_given_up() {
        let now = Instant::now();
        let mut election = election(false, now);
        election.saw(&seen(true, Some("a"), true), now);
        assert_eq!(asks_in_vain(&mut election, now), PATIENCE);
        election.saw(&seen(true, Some("a"), true), now);
        assert!(election.deadline().is_some() && takes_over_in(&election, now).is_none());
    }

    #[test]
    fn a_leader_that_has_ended_without_a_last_will_is_given_up() {
        let now = Instant::now();
        let mut election = election(false, now);
        election.saw(&seen(true, Some("a"), false), now);
        let took = asks_in_vain(&mut election, now);
        assert!((2 * PATIENCE..PATIENCE * 9 / 4).contains(&took), "{took:?}");
    }

    #[test]
    fn a_leader_that_answers_is_asked_once_in_a_keep_alive_time() {
        let mut now = Instant::now();
        let mut election = election(false, now);
        election.saw(&seen(true, Some("a"), false), now);
        for _ in 0..10 {
            let next = election.deadline().unwrap();
            assert!((PATIENCE..PATIENCE * 5 / 4).contains(&(next - now)));
            now = next;
            assert_eq!(election.act(now), Action::Ask);
            assert!(!election.saw(&seen(true, Some("a"), false), now), "nothing has changed");
        }
        // This one does not answer questions.
        for retained in [true, false] {
            election.saw(&seen(true, None, retained), now);
            assert_eq!(election.deadline(), None);
        }
    }
}
