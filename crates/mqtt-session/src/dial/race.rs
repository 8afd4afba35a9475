//! Which address of a host is tried, and when (RFC 8305, *Happy Eyeballs*): the addresses of a
//! host are tried one after the other, at short intervals, and the first that works is used. So
//! an address that leads nowhere costs a fraction of a second and not the whole time limit.
//!
//! Pure: events and the time go in, [`Action`]s come out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// How long an attempt goes on alone before the next one starts (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// The same, once the attempt has a connection of TCP. It is likely to succeed, but a firewall
/// or a dead process may have accepted it.
const HANDSHAKE_STAGGER: Duration = Duration::from_secs(2);

/// How long IPv4 addresses wait for the IPv6 addresses (RFC 8305, section 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// How long the name servers may take. The resolver waits 5 s for one that does not answer before
/// it asks the next one.
pub(crate) const RESOLUTION_TIMEOUT: Duration = Duration::from_secs(8);

/// How long all attempts together may take.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Most addresses of a family that are used.
const MAX_ADDRESSES: usize = 16;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V6,
    V4,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V6, Self::V4];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::V6 => Self::V4,
            Self::V4 => Self::V6,
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start an attempt.
    Start(SocketAddr),
    /// Wait for an event, until this time at the latest.
    Wait(Instant),
    /// Nothing is left to try, or it has taken too long.
    GiveUp,
}

/// The attempts to reach one host.
#[derive(Debug)]
pub(crate) struct Race {
    /// Addresses that are not tried yet.
    v6: VecDeque<SocketAddr>,
    v4: VecDeque<SocketAddr>,
    /// Those of them that did not work last time, the longest ago first.
    suspects: Vec<SocketAddr>,
    /// The families that the name servers have not answered yet.
    unresolved: Vec<Family>,
    running: Vec<SocketAddr>,
    /// The family of the last attempt.
    last: Family,
    start_at: Instant,
    resolve_until: Instant,
    /// Set by the first addresses.
    give_up_at: Option<Instant>,
}

impl Race {
    /// Starts to wait for the addresses of `families`. `suspects` are addresses that did not work
    /// last time, the longest ago first; they are tried after all others.
    pub(crate) fn new(
        families: impl IntoIterator<Item = Family>,
        suspects: Vec<SocketAddr>,
        now: Instant,
    ) -> Self {
        Self {
            v6: VecDeque::new(),
            v4: VecDeque::new(),
            suspects,
            unresolved: families.into_iter().collect(),
            running: Vec::new(),
            // So IPv6 comes first.
            last: Family::V4,
            start_at: now,
            resolve_until: now + RESOLUTION_TIMEOUT,
            give_up_at: None,
        }
    }

    /// The lookup of a family has ended, with no address if it has failed.
    pub(crate) fn resolved(&mut self, family: Family, addresses: Vec<SocketAddr>, now: Instant) {
        self.unresolved.retain(|unresolved| *unresolved != family);
        let is_first = self.give_up_at.is_none();
        let queue = self.queue(family);
        for address in addresses {
            if queue.len() < MAX_ADDRESSES && !queue.contains(&address) {
                queue.push_back(address);
            }
        }
        if queue.is_empty() {
            if is_first {
                self.start_at = now;
            }
            return;
        }
        if is_first {
            self.give_up_at = Some(now + DIAL_TIMEOUT);
            let waits = family == Family::V4 && !self.unresolved.is_empty();
            self.start_at = if waits { now + RESOLUTION_DELAY } else { now };
        } else if self.running.is_empty() {
            self.start_at = now;
        }
    }

    /// An attempt has a connection of TCP, and goes on.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.start_at = self.start_at.max(now + HANDSHAKE_STAGGER);
    }

    /// An attempt has failed: the next one need not wait.
    pub(crate) fn failed(&mut self, address: SocketAddr, now: Instant) {
        self.running.retain(|running| *running != address);
        self.start_at = now;
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Action {
        if now >= self.resolve_until {
            self.unresolved.clear();
        }
        if self.give_up_at.is_some_and(|give_up_at| now >= give_up_at) {
            return Action::GiveUp;
        }
        let has_more = !self.v6.is_empty() || !self.v4.is_empty();
        if now >= self.start_at
            && let Some(address) = self.pick()
        {
            self.running.push(address);
            self.start_at = now + STAGGER;
            return Action::Start(address);
        }
        if !has_more && self.running.is_empty() && self.unresolved.is_empty() {
            return Action::GiveUp;
        }
        let start_at = has_more.then_some(self.start_at);
        let resolve_until = (!self.unresolved.is_empty()).then_some(self.resolve_until);
        let until = [start_at, resolve_until, self.give_up_at].into_iter().flatten().min();
        Action::Wait(until.unwrap_or(self.resolve_until))
    }

    /// Until when the attempts may go on; `None` before the first address is known.
    pub(crate) fn give_up_at(&self) -> Option<Instant> {
        self.give_up_at
    }

    /// The next address: of the families in turn, those that did not work last time last.
    fn pick(&mut self) -> Option<SocketAddr> {
        for family in [self.last.other(), self.last] {
            let suspects = std::mem::take(&mut self.suspects);
            let queue = self.queue(family);
            let trusted = queue.iter().position(|address| !suspects.contains(address));
            let picked = trusted.and_then(|index| queue.remove(index));
            self.suspects = suspects;
            if picked.is_some() {
                self.last = family;
                return picked;
            }
        }
        let all = self.v6.iter().chain(&self.v4).copied();
        let rank = |address: &SocketAddr| self.suspects.iter().position(|other| other == address);
        let picked = all.min_by_key(rank)?;
        self.v6.retain(|address| *address != picked);
        self.v4.retain(|address| *address != picked);
        Some(picked)
    }

    fn queue(&mut self, family: Family) -> &mut VecDeque<SocketAddr> {
        match family {
            Family::V6 => &mut self.v6,
            Family::V4 => &mut self.v4,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn addresses(hosts: &[&str]) -> Vec<SocketAddr> {
        hosts.iter().map(|host| address(host)).collect()
    }

    fn address(host: &str) -> SocketAddr {
        SocketAddr::new(host.parse().unwrap(), 1883)
    }

    /// Runs a race in which no attempt ends, and returns when each one started.
    fn starts(race: &mut Race, start: Instant) -> Vec<(u128, SocketAddr)> {
        let (mut now, mut starts) = (start, Vec::new());
        loop {
            match race.next(now) {
                Action::Start(address) => starts.push(((now - start).as_millis(), address)),
                Action::Wait(until) => {
                    assert!(until > now);
                    now = until;
                }
                Action::GiveUp => return starts,
            }
        }
    }

    #[test]
    fn addresses_are_tried_at_intervals_and_the_families_in_turn() {
        let now = Instant::now();
        let mut race = Race::new(Family::ALL, Vec::new(), now);
        race.resolved(Family::V6, addresses(&["::1", "::2", "::3"]), now);
        race.resolved(Family::V4, addresses(&["127.0.0.1"]), now);
        let expected = [(0, "::1"), (250, "127.0.0.1"), (500, "::2"), (750, "::3")];
        assert_eq!(starts(&mut race, now), expected.map(|(at, host)| (at, address(host))));
    }

    #[test]
    fn the_limit_holds_for_all_attempts_together() {
        let now = Instant::now();
        let mut race = Race::new(Family::ALL, Vec::new(), now);
        race.resolved(Family::V4, Vec::new(), now);
        race.resolved(Family::V6, addresses(&["::1"]), now);
        assert_eq!(race.next(now), Action::Start(address("::1")));
        assert_eq!(race.next(now), Action::Wait(now + DIAL_TIMEOUT));
        assert_eq!(race.next(now + DIAL_TIMEOUT), Action::GiveUp);
    }

    #[test]
    fn after_a_failure_the_next_attempt_starts_at_once() {
        let now = Instant::now();
        let mut race = Race::new(Family::ALL, Vec::new(), now);
        race.resolved(Family::V6, addresses(&["::1", "::2"]), now);
        race.resolved(Family::V4, Vec::new(), now);
        assert_eq!(race.next(now), Action::Start(address("::1")));
        race.failed(address("::1"), now);
        assert_eq!(race.next(now), Action::Start(address("::2")));
        race.failed(address("::2"), now);
        assert_eq!(race.next(now), Action::GiveUp);
    }

    #[test]
    fn a_connection_of_tcp_gets_more_time_but_not_all() {
        let now = Instant::now();
        let mut race = Race::new(Family::ALL, Vec::new(), now);
        race.resolved(Family::V6, addresses(&["::1", "::2"]), now);
        race.resolved(Family::V4, Vec::new(), now);
        assert_eq!(race.next(now), Action::Start(address("::1")));
        race.connected(now);
        assert_eq!(race.next(now), Action::Wait(now + HANDSHAKE_STAGGER));
        assert_eq!(race.next(now + HANDSHAKE_STAGGER), Action::Start(address("::2")));
    }

    #[test]
    fn addresses_of_one_family_are_used_if_the_other_is_not_answered() {
        let now = Instant::now();
        let mut race = Race::new(Family::ALL, Vec::new(), now);
        assert_eq!(race.next(now), Action::Wait(now + RESOLUTION_TIMEOUT));
        race.resolved(Family::V4, addresses(&["127.0.0.1"]), now);
        assert_eq!(race.next(now), Action::Wait(now + RESOLUTION_DELAY));
        let later = now + RESOLUTION_DELAY;
        assert_eq!(race.next(later), Action::Start(address("127.0.0.1")));
        // It comes late, and is still used.
        race.resolved(Family::V6, addresses(&["::1"]), later);
        assert_eq!(race.next(later + STAGGER), Action::Start(address("::1")));
    }

    #[test]
    fn name_servers_without_an_answer_are_given_up() {
        let now = Instant::now();
        let mut race = Race::new(Family::ALL, Vec::new(), now);
        assert_eq!(race.next(now), Action::Wait(now + RESOLUTION_TIMEOUT));
        assert_eq!(race.next(now + RESOLUTION_TIMEOUT), Action::GiveUp);
        let mut race = Race::new(Family::ALL, Vec::new(), now);
        race.resolved(Family::V6, Vec::new(), now);
        race.resolved(Family::V4, Vec::new(), now);
        assert_eq!(race.next(now), Action::GiveUp);
    }

    #[test]
    fn a_late_answer_does_not_end_the_attempts_that_run() {
        let now = Instant::now();
        let mut race = Race::new(Family::ALL, Vec::new(), now);
        race.resolved(Family::V4, addresses(&["127.0.0.1"]), now);
        let later = now + RESOLUTION_TIMEOUT;
        assert_eq!(race.next(later), Action::Start(address("127.0.0.1")));
        assert_eq!(race.next(later), Action::Wait(now + DIAL_TIMEOUT));
    }

    #[test]
    fn addresses_that_did_not_work_last_time_come_last_the_latest_one_at_the_end() {
        let now = Instant::now();
        let suspects = addresses(&["127.0.0.1", "::1"]);
        let mut race = Race::new(Family::ALL, suspects, now);
        race.resolved(Family::V6, addresses(&["::1", "::2"]), now);
        race.resolved(Family::V4, addresses(&["127.0.0.1", "127.0.0.2"]), now);
        let order = starts(&mut race, now).into_iter().map(|(_, address)| address);
        let expected = addresses(&["::2", "127.0.0.2", "127.0.0.1", "::1"]);
        assert_eq!(order.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_number_of_addresses_is_limited_and_none_is_tried_twice() {
        let now = Instant::now();
        let mut race = Race::new(Family::ALL, Vec::new(), now);
        let many = (0..100_u8).flat_map(|last| [last, last]);
        let many = many.map(|last| address(&format!("127.0.0.{last}"))).collect();
        race.resolved(Family::V6, Vec::new(), now);
        race.resolved(Family::V4, many, now);
        let mut started = starts(&mut race, now).into_iter().map(|(_, a)| a).collect::<Vec<_>>();
        assert_eq!(started.len(), MAX_ADDRESSES);
        started.dedup();
        assert_eq!(started.len(), MAX_ADDRESSES);
    }
}
