//! A random load of requests of all kinds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::sleep;

use super::journal::Journal;
use super::request::{CONFIGS, Kind, Mismatch, SLOTS};
use super::support::Requester;
use super::support::requester::{Answer, Fate};

/// The maximum number of requests without a reply; more would only fill the queue of the
/// broker.
const OUTSTANDING: usize = 400;

/// The index of the largest config.
const LARGEST: usize = CONFIGS.len() - 1;

/// The subscriptions that the operator always has.
const SUBSCRIPTIONS: [Kind; 2] = [Kind::Subscribe, Kind::Follow];

/// A request, and when it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) kind: Kind,
    pub(crate) at: Instant,
}

/// What is known about the workload of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A request has failed; it may or may not have been executed.
    #[default]
    Unknown,
    Absent,
    Present {
        version: u32,
    },
}

/// The requests of one run.
pub(crate) struct Load<'a> {
    operator: &'a Requester,
    journal: &'a Journal,
    /// Whether there are replicas. Each has its own Ankaios, so no request may change the
    /// state.
    replicas: bool,
    pub(crate) asked: BTreeMap<u32, Asked>,
    slots: [Slot; SLOTS],
    /// The request for each slot that has no reply yet. The next request for the slot waits for
    /// it, as an operator would.
    busy: [Option<u32>; SLOTS],
    /// How many losses of the broker's data have been handled.
    data_losses: usize,
    /// The number of the first request since the last loss.
    first: u32,
    /// The requests that create the subscriptions.
    subscribing: [Option<u32>; SUBSCRIPTIONS.len()],
}

impl<'a> Load<'a> {
    pub(crate) fn new(operator: &'a Requester, journal: &'a Journal, replicas: bool) -> Self {
        Self {
            operator,
            journal,
            replicas,
            asked: BTreeMap::new(),
            slots: [Slot::Absent; SLOTS],
            busy: [None; SLOTS],
            data_losses: 0,
            first: 0,
            subscribing: [None; SUBSCRIPTIONS.len()],
        }
    }

    /// Sends requests until `end`.
    pub(crate) async fn flow(&mut self, mut random: Rng, end: Instant) {
        while Instant::now() < end {
            self.handle_data_loss();
            self.ensure_subscribed().await;
            let waiting = self.operator.unanswered(self.first);
            let burst = match random.u32(0..100) {
                _ if waiting > OUTSTANDING => 0,
                0 => random.usize(50..150),
                1..5 => random.usize(5..30),
                _ => 1,
            };
            let large = random.u32(0..10) == 0;
            for _ in 0..burst {
                let kind = if burst > 1 && large {
                    Some(Kind::Config(random.usize(LARGEST - 2..=LARGEST)))
                } else {
                    self.random_kind(&mut random)
                };
                if let Some(kind) = kind.filter(|kind| !self.replicas || !kind.leaves_traces()) {
                    self.ask(kind).await;
                }
            }
            sleep(Duration::from_millis(random.u64(0..30))).await;
        }
    }

    fn random_kind(&mut self, random: &mut Rng) -> Option<Kind> {
        Some(match random.u32(0..100) {
            // Rarely: the state in its reply hides whether earlier events were lost.
            0 if random.u32(0..10) == 0 => random.choice(SUBSCRIPTIONS)?,
            0..30 => Kind::Config(random.usize(..LARGEST)),
            30..36 => Kind::ConfigOwnFormat(random.usize(..LARGEST)),
            36..37 => Kind::Everything,
            37..45 => Kind::Nothing,
            45..75 => return self.change(random),
            75..78 => Kind::Validate,
            78..79 => Kind::Logs,
            79..82 => Kind::NoWorkload,
            82..84 => Kind::NoSubscription,
            84..86 => Kind::Wait,
            86..88 => Kind::NoUpdate,
            88..91 => Kind::Refused,
            91..94 => Kind::NoManifest,
            94..97 => Kind::NoMasks,
            97..99 => Kind::NoOperation,
            _ => Kind::TooLarge,
        })
    }

    /// A change of a slot that has no request in flight.
    fn change(&mut self, random: &mut Rng) -> Option<Kind> {
        self.update_slots();
        let slot = random.usize(..SLOTS);
        if self.busy[slot].is_some() {
            return None;
        }
        if random.u32(0..4) == 0 {
            return Some(Kind::Delete { slot });
        }
        let padding = if random.u32(0..10) == 0 { random.usize(..100_000) } else { 0 };
        Some(Kind::Apply { slot, version: self.number(), padding })
    }

    /// Gives up the requests in flight when the broker has lost everything.
    pub(crate) fn handle_data_loss(&mut self) {
        let times = self.journal.data_losses();
        if times == self.data_losses {
            return;
        }
        self.data_losses = times;
        self.update_slots();
        for (slot, busy) in self.slots.iter_mut().zip(&mut self.busy) {
            if busy.take().is_some() {
                *slot = Slot::Unknown;
            }
        }
        self.first = self.number();
        self.subscribing = [None; SUBSCRIPTIONS.len()];
    }

    /// Subscribes again until each subscription has succeeded.
    pub(crate) async fn ensure_subscribed(&mut self) {
        if self.replicas {
            return;
        }
        for (index, kind) in SUBSCRIPTIONS.iter().enumerate() {
            let failed = match self.subscribing[index] {
                None => true,
                Some(number) => {
                    let fate = self.operator.fate(number).unwrap_or_default();
                    let reply = fate.replies.first();
                    let refused = |it: &Answer| kind.judge(number, &it.payload).is_err();
                    // Whether the error is excused is checked at the end.
                    reply.map_or(fate.no_subscribers, refused)
                }
            };
            if failed {
                self.subscribing[index] = Some(self.ask(kind.clone()).await);
            }
        }
    }

    /// The first request that must have a reply, but has none.
    pub(crate) fn unanswered(&self) -> Option<u32> {
        let fates = self.operator.fates();
        let mut missing = fates.iter().filter(|(_, fate)| fate.replies.is_empty());
        missing.find(|(_, fate)| !self.is_lost(fate, &fates)).map(|(number, _)| *number)
    }

    /// Whether the broker has lost a request or its reply, together with all its data.
    fn is_lost(&self, fate: &Fate, fates: &BTreeMap<u32, Fate>) -> bool {
        let Some(acknowledged) = fate.acknowledged else { return false };
        if self.journal.data_lost_before(Instant::now()).is_some_and(|when| acknowledged < when) {
            return true;
        }
        // The connector had not subscribed again yet.
        fate.no_subscribers
            && self.journal.data_lost_before(acknowledged).is_some_and(|when| {
                !fates.values().any(|other| {
                    !other.no_subscribers
                        && other.acknowledged.is_some_and(|at| when < at && at < acknowledged)
                })
            })
    }

    /// Updates the slots from the replies to changes.
    fn update_slots(&mut self) {
        for slot in 0..SLOTS {
            let Some(number) = self.busy[slot] else { continue };
            let fate = self.operator.fate(number).unwrap_or_default();
            let kind = &self.asked[&number].kind;
            let done = match fate.replies.first() {
                Some(answer) => kind.judge(number, &answer.payload).is_ok(),
                None if fate.no_subscribers => false,
                None => continue,
            };
            self.slots[slot] = match kind {
                Kind::Apply { version, .. } if done => Slot::Present { version: *version },
                Kind::Delete { .. } if done => Slot::Absent,
                _ => Slot::Unknown,
            };
            self.busy[slot] = None;
        }
    }

    /// The number of the next request.
    fn number(&self) -> u32 {
        self.asked.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    /// Publishes a request and returns its number.
    pub(crate) async fn ask(&mut self, kind: Kind) -> u32 {
        let number = self.number();
        if let Kind::Apply { slot, .. } | Kind::Delete { slot } = kind {
            self.update_slots();
            self.busy[slot] = Some(number);
        }
        self.asked.insert(number, Asked { kind: kind.clone(), at: Instant::now() });
        self.operator.request(number, &kind.operation(number), kind.payload(number)).await;
        number
    }

    /// What each slot must contain at the end.
    pub(crate) fn slots(&mut self) -> [Slot; SLOTS] {
        self.update_slots();
        self.slots
    }

    /// The wrong replies, and the errors that no outage explains.
    pub(crate) fn failures(&self) -> Vec<String> {
        let fates = self.operator.fates();
        let mut failures = Vec::new();
        for (number, fate) in &fates {
            let Some(Asked { kind, at }) = self.asked.get(number) else {
                failures.push(format!("{number} was never sent"));
                continue;
            };
            let at_second = self.journal.at(*at);
            for answer in &fate.replies {
                let failure = match kind.judge(*number, &answer.payload) {
                    Ok(()) => continue,
                    Err(Mismatch::Outage(_)) if self.journal.excuses(*at, answer.at) => continue,
                    Err(Mismatch::Outage(what)) => format!("no outage explains {what}"),
                    Err(Mismatch::Wrong(what)) => what,
                };
                let answered = self.journal.at(answer.at);
                failures.push(format!(
                    "{number} of {at_second:.3}, answered at {answered:.3}: {kind:?}: {failure}"
                ));
            }
            if let Some(missing) = missing(fate)
                && !self.is_lost(fate, &fates)
            {
                failures.push(format!("{number} of {at_second:.3}: {kind:?}: {missing}"));
            }
        }
        failures
    }

    /// A summary of the run in one line.
    pub(crate) fn summary(&self) -> String {
        let fates = self.operator.fates();
        let mut outages = BTreeMap::<String, usize>::new();
        let mut repeated = 0;
        for (number, fate) in &fates {
            repeated += fate.replies.len().saturating_sub(1);
            for answer in &fate.replies {
                if let Err(Mismatch::Outage(what)) =
                    self.asked[number].kind.judge(*number, &answer.payload)
                {
                    let (code, _) = what.split_once(':').unwrap_or((&what, ""));
                    *outages.entry(code.to_owned()).or_default() += 1;
                }
            }
        }
        let lost = fates.values().filter(|fate| fate.replies.is_empty()).count();
        format!(
            "{} requests, {lost} lost by the broker, {repeated} replies repeated, errors {outages:?}",
            fates.len()
        )
    }
}

fn missing(fate: &Fate) -> Option<&'static str> {
    if fate.no_subscribers {
        return Some("the broker had lost the session of the connector");
    }
    match fate.acknowledged {
        Some(_) if fate.replies.is_empty() => Some("acknowledged, but no reply"),
        Some(_) => None,
        None => Some("not acknowledged by the broker"),
    }
}
