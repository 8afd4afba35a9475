//! Which vehicles a command follows, and when it subscribes to them. No I/O: the time comes in.
//!
//! A subscription is renewed every quarter of its lifetime, so that it survives two renewals without
//! an answer. Each vehicle has its own time, and only so many requests are without an answer as the
//! caller allows.
//!
//! A vehicle that is online again resumes its subscriptions by itself, unless the broker has lost
//! their records. To subscribe again at once would end a log before its last lines were sent. So that
//! is done only if nothing of the subscription arrives for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_contract::topics::StreamKind;
use tokio::time::Instant;

use crate::Vin;

/// The lifetime of subscriptions: how long they go on after a command that was killed.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);

/// How long a vehicle has to resume a subscription by itself.
const RESUME_TIME: Duration = Duration::from_secs(5);

/// Why a command subscribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// There is no subscription.
    First,
    /// It would expire. Nothing is missing.
    Renewal,
    /// The command was not connected: messages may be missing.
    Reconnected,
    /// The vehicle was offline, or did not renew the subscription in time, and may have lost it.
    Lost,
}

/// A vehicle.
#[derive(Debug, Default)]
struct Followed {
    /// When and why a request is to be sent.
    next: Option<(Instant, Why)>,
    /// Whether a message of the subscription shows that the request of `next` is not needed.
    is_doubtful: bool,
    /// When the subscription expires and when it is renewed; `None` if there is none.
    subscribed: Option<Subscribed>,
    /// Whether a request has no answer yet.
    is_asked: bool,
    /// What has happened since that request was sent.
    since_asked: Option<Why>,
}

#[derive(Debug, Clone, Copy)]
struct Subscribed {
    expires: Instant,
    renew_at: Instant,
}

/// The vehicles that a command follows.
#[derive(Debug)]
pub(crate) struct Following {
    kind: StreamKind,
    vehicles: BTreeMap<Vin, Followed>,
    /// `next` of all vehicles.
    schedule: BTreeSet<(Instant, Vin)>,
    calls: BTreeMap<u64, (Vin, Why)>,
}

impl Following {
    /// Follows nothing.
    pub(crate) fn new(kind: StreamKind) -> Self {
        Self { kind, vehicles: BTreeMap::new(), schedule: BTreeSet::new(), calls: BTreeMap::new() }
    }

    /// Adds a vehicle that is online.
    pub(crate) fn add(&mut self, vin: &Vin, now: Instant) {
        if !self.knows(vin) {
            self.vehicles.insert(vin.clone(), Followed::default());
            self.schedule(vin, Some((now, Why::First)));
        }
    }

    /// Whether a vehicle was added.
    pub(crate) fn knows(&self, vin: &Vin) -> bool {
        self.vehicles.contains_key(vin)
    }

    /// The command is connected again.
    pub(crate) fn connected(&mut self, now: Instant) {
        let vins: Vec<Vin> = self.vehicles.keys().cloned().collect();
        // The reply to a subscription for events has the state, so nothing is missing after it.
        // Logs go on at the vehicle.
        let is_doubtful = self.kind == StreamKind::Logs;
        for vin in vins {
            self.interrupted(&vin, Why::Reconnected, is_doubtful, now);
        }
    }

    /// A vehicle is online again.
    pub(crate) fn online(&mut self, vin: &Vin, now: Instant) {
        let Some(vehicle) = self.vehicles.get(vin) else { return };
        if vehicle.subscribed.is_none() && !vehicle.is_asked {
            self.schedule(vin, Some((now, Why::First)));
        } else {
            self.interrupted(vin, Why::Lost, true, now);
        }
    }

    fn interrupted(&mut self, vin: &Vin, why: Why, is_doubtful: bool, now: Instant) {
        let Some(vehicle) = self.vehicles.get_mut(vin) else { return };
        if vehicle.is_asked {
            vehicle.since_asked = Some(why);
        } else if vehicle.subscribed.is_some() {
            let at = if is_doubtful { now + RESUME_TIME } else { now };
            vehicle.is_doubtful = is_doubtful;
            // What is due anyway is not postponed.
            let at = vehicle.next.map_or(at, |(next, _)| next.min(at));
            self.schedule(vin, Some((at, why)));
        }
    }

    /// A message of the subscription has arrived.
    pub(crate) fn message(&mut self, vin: &Vin) {
        let Some(vehicle) = self.vehicles.get_mut(vin) else { return };
        if std::mem::take(&mut vehicle.is_doubtful)
            && let Some(Subscribed { renew_at, .. }) = vehicle.subscribed
        {
            self.schedule(vin, Some((renew_at, Why::Renewal)));
        }
    }

    /// The subscription has ended.
    pub(crate) fn ended(&mut self, vin: &Vin) {
        self.schedule(vin, None);
        self.vehicles.remove(vin);
        self.calls.retain(|_, (asked, _)| asked != vin);
    }

    /// A vehicle to which a request is due, if so many may be without an answer. The caller sends it,
    /// and calls [`asked`](Self::asked).
    pub(crate) fn due(&mut self, parallel: usize, now: Instant) -> Option<(Vin, Why)> {
        if self.next_due(parallel)? > now {
            return None;
        }
        let vin = self.schedule.first()?.1.clone();
        let vehicle = self.vehicles.get_mut(&vin)?;
        let (_, why) = vehicle.next?;
        vehicle.is_asked = true;
        vehicle.is_doubtful = false;
        vehicle.since_asked = None;
        self.schedule(&vin, None);
        Some((vin, why))
    }

    /// When the next request is due.
    pub(crate) fn next_due(&self, parallel: usize) -> Option<Instant> {
        let has_room = self.calls.len() < parallel;
        self.schedule.first().filter(|_| has_room).map(|(at, _)| *at)
    }

    /// The request to a vehicle is sent.
    pub(crate) fn asked(&mut self, token: u64, vin: Vin, why: Why) {
        self.calls.insert(token, (vin, why));
    }

    /// A request was answered, by a reply or not. Returns the vehicle, and why it was asked; `None`
    /// if it was not asked, or is not followed any more.
    pub(crate) fn answered(
        &mut self,
        token: u64,
        is_reply: bool,
        now: Instant,
    ) -> Option<(Vin, Why)> {
        let (vin, why) = self.calls.remove(&token)?;
        let vehicle = self.vehicles.get_mut(&vin)?;
        vehicle.is_asked = false;
        let since_asked = vehicle.since_asked.take();
        let quarter = LIFETIME / 4;
        if is_reply {
            let renew_at = now + quarter;
            vehicle.subscribed = Some(Subscribed { expires: now + LIFETIME, renew_at });
            self.schedule(&vin, Some((renew_at, Why::Renewal)));
        } else {
            let retry = now + quarter;
            let next = vehicle.subscribed.map(|subscribed| match why {
                // It has expired then.
                Why::Renewal if retry >= subscribed.expires => (retry, Why::Lost),
                why => (retry, why),
            });
            self.schedule(&vin, next);
        }
        match since_asked {
            Some(Why::Lost) => self.online(&vin, now),
            Some(why) => self.interrupted(&vin, why, self.kind == StreamKind::Logs, now),
            None => {}
        }
        Some((vin, why))
    }

    /// Whether no vehicle is followed, or will be by itself.
    pub(crate) fn is_idle(&self) -> bool {
        self.schedule.is_empty() && self.calls.is_empty()
    }

    /// The vehicles that may have a subscription.
    pub(crate) fn subscribed(&self) -> impl Iterator<Item = &Vin> {
        let may_be = |vehicle: &Followed| vehicle.subscribed.is_some() || vehicle.is_asked;
        self.vehicles.iter().filter(move |(_, vehicle)| may_be(vehicle)).map(|(vin, _)| vin)
    }

    fn schedule(&mut self, vin: &Vin, next: Option<(Instant, Why)>) {
        let Some(vehicle) = self.vehicles.get_mut(vin) else { return };
        if let Some((former, _)) = std::mem::replace(&mut vehicle.next, next) {
            self.schedule.remove(&(former, vin.clone()));
        }
        if let Some((at, _)) = next {
            self.schedule.insert((at, vin.clone()));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn vin(number: usize) -> Vin {
        format!("V{number:05}").parse().unwrap()
    }

    /// A command with a virtual clock.
    struct Scene {
        following: Following,
        now: Instant,
        token: u64,
    }

    impl Scene {
        fn new(kind: StreamKind, vehicles: usize) -> Self {
            let (following, now) = (Following::new(kind), Instant::now());
            let mut scene = Self { following, now, token: 0 };
            (0..vehicles).for_each(|number| scene.following.add(&vin(number), scene.now));
            scene
        }

        /// Sends what is due.
        fn send(&mut self, parallel: usize) -> Vec<(u64, Vin, Why)> {
            let mut sent = Vec::new();
            while let Some((vin, why)) = self.following.due(parallel, self.now) {
                self.token += 1;
                self.following.asked(self.token, vin.clone(), why);
                sent.push((self.token, vin, why));
            }
            sent
        }

        /// Sends what is due, and answers it. Returns why requests were sent.
        fn round(&mut self, is_reply: bool) -> Vec<Why> {
            let sent = self.send(usize::MAX);
            for (token, vin, why) in &sent {
                let answered = self.following.answered(*token, is_reply, self.now);
                assert_eq!(answered, Some((vin.clone(), *why)));
            }
            sent.into_iter().map(|(_, _, why)| why).collect()
        }

        /// Time passes until the next request is due.
        fn wait(&mut self) -> Duration {
            let due = self.following.next_due(usize::MAX).unwrap();
            let waited = due - self.now;
            self.now = due;
            waited
        }
    }

    #[test]
    fn a_subscription_is_renewed_every_quarter_of_its_lifetime() {
        let mut scene = Scene::new(StreamKind::Events, 1);
        assert_eq!(scene.round(true), [Why::First]);
        for _ in 0..10 {
            assert_eq!(scene.round(true), []);
            assert_eq!(scene.wait(), 15 * MINUTE);
            assert_eq!(scene.round(true), [Why::Renewal]);
        }
    }

    #[test]
    fn three_renewals_fit_into_the_lifetime_and_later_ones_know_that_it_is_over() {
        let mut scene = Scene::new(StreamKind::Logs, 1);
        scene.round(true);
        for why in [Why::Renewal, Why::Renewal, Why::Renewal, Why::Lost, Why::Lost] {
            assert_eq!(scene.wait(), 15 * MINUTE);
            assert_eq!(scene.round(false), [why]);
        }
        scene.wait();
        assert_eq!(scene.round(true), [Why::Lost]);
        scene.wait();
        assert_eq!(scene.round(true), [Why::Renewal]);
    }

    #[test]
    fn ten_thousand_vehicles_are_never_asked_at_once() {
        let mut scene = Scene::new(StreamKind::Events, 10_000);
        let (mut renewed, start) = (0, scene.now);
        // Each request takes 10 ms, at first and for renewals.
        while renewed < 10_000 {
            let due = scene.following.next_due(200).unwrap();
            scene.now = scene.now.max(due);
            let sent = scene.send(200);
            assert!(sent.len() <= 200);
            scene.now += Duration::from_millis(10);
            for (token, _, why) in sent {
                scene.following.answered(token, true, scene.now).unwrap();
                renewed += usize::from(why == Why::Renewal);
            }
        }
        assert!(scene.now - start < 16 * MINUTE);
        assert_eq!(scene.following.subscribed().count(), 10_000);
        scene.following.connected(scene.now);
        assert_eq!(scene.send(200).len(), 200);
        assert_eq!(scene.following.next_due(200), None);
    }

    #[test]
    fn a_vehicle_that_resumes_by_itself_is_not_asked_and_one_that_is_silent_is() {
        for kind in StreamKind::ALL {
            let mut scene = Scene::new(kind, 2);
            scene.round(true);
            scene.now += MINUTE;
            scene.following.online(&vin(0), scene.now);
            scene.following.online(&vin(1), scene.now);
            scene.following.online(&vin(7), scene.now);
            assert_eq!(scene.round(true), []);
            scene.following.message(&vin(0));
            assert_eq!(scene.wait(), RESUME_TIME);
            assert_eq!(scene.send(9), [(3, vin(1), Why::Lost)]);
            scene.following.answered(3, true, scene.now);
            // The renewal of the other one is not postponed.
            assert_eq!(scene.wait(), 14 * MINUTE - RESUME_TIME);
            assert_eq!(scene.send(9), [(4, vin(0), Why::Renewal)]);
        }
    }

    #[test]
    fn after_a_new_connection_states_are_read_at_once_and_logs_go_on_by_themselves() {
        let mut events = Scene::new(StreamKind::Events, 2);
        events.round(true);
        events.following.connected(events.now);
        assert_eq!(events.round(true), [Why::Reconnected, Why::Reconnected]);
        let mut logs = Scene::new(StreamKind::Logs, 2);
        logs.round(true);
        logs.following.connected(logs.now);
        assert_eq!(logs.round(true), []);
        logs.following.message(&vin(1));
        assert_eq!(logs.wait(), RESUME_TIME);
        assert_eq!(logs.send(9), [(3, vin(0), Why::Reconnected)]);
    }

    #[test]
    fn what_happens_while_a_request_has_no_answer_is_not_forgotten() {
        let mut scene = Scene::new(StreamKind::Logs, 1);
        scene.send(1);
        scene.following.online(&vin(0), scene.now);
        scene.following.answered(1, false, scene.now);
        assert_eq!(scene.send(1), [(2, vin(0), Why::First)]);
        scene.following.answered(2, true, scene.now);
        scene.wait();
        scene.send(1);
        scene.following.online(&vin(0), scene.now);
        scene.following.answered(3, true, scene.now);
        assert_eq!(scene.wait(), RESUME_TIME);
        assert_eq!(scene.round(true), [Why::Lost]);
    }

    #[test]
    fn a_vehicle_that_refuses_is_asked_again_when_it_is_back() {
        let mut scene = Scene::new(StreamKind::Events, 1);
        assert!(!scene.following.is_idle());
        assert_eq!(scene.round(false), [Why::First]);
        assert!(scene.following.is_idle());
        assert_eq!(scene.following.subscribed().count(), 0);
        scene.following.connected(scene.now);
        assert_eq!(scene.round(true), []);
        scene.following.online(&vin(0), scene.now);
        assert_eq!(scene.round(true), [Why::First]);
        assert!(!scene.following.is_idle());
    }

    #[test]
    fn what_has_ended_is_not_renewed() {
        let mut scene = Scene::new(StreamKind::Logs, 2);
        scene.round(true);
        scene.wait();
        scene.send(9);
        scene.following.ended(&vin(0));
        scene.following.ended(&vin(1));
        assert_eq!(scene.following.answered(3, true, scene.now), None);
        assert!(scene.following.is_idle());
        assert_eq!(scene.following.subscribed().count(), 0);
    }
}
