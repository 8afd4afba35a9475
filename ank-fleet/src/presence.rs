//! Which vehicles there are, and whether they are online: what their connectors say of themselves.

use std::borrow::Cow;
use std::collections::BTreeMap;

use fleet_contract::Labels;
use fleet_contract::fleet::FleetName;
use fleet_contract::status::{Availability, ConnectorStatus};

use crate::text::{self, MAX_MESSAGE, MAX_NAME};
use crate::vin::Vin;

/// How much of what its broker lacks is kept of a vehicle.
const MAX_DEGRADED: usize = 8;

/// How the statuses of vehicles were found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sources {
    /// Statuses that the broker had retained.
    pub retained: usize,
    /// Statuses that were published since, as answers or by themselves.
    pub published: usize,
}

/// The statuses of vehicles.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    vehicles: BTreeMap<Vin, Seen>,
    sources: Sources,
    /// The fleet that is asked who is there.
    asked: Option<FleetName>,
    /// The number of questions.
    questions: u64,
    /// The answers up to this question are complete.
    complete: u64,
}

/// What is known of a vehicle.
#[derive(Debug, Clone)]
struct Seen {
    status: ConnectorStatus,
    /// The last question that it may have answered; 0 if its status was only retained.
    answered: u64,
}

/// A vehicle has come online or gone offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The vehicle.
    pub vin: Vin,
    /// Whether it is online.
    pub is_online: bool,
}

/// The vehicle in a topic `vehicle/<VIN>/<rest>`, and the rest.
#[must_use]
pub fn vehicle_of(topic: &str) -> Option<(Vin, &str)> {
    let (vin, rest) = topic.strip_prefix("vehicle/")?.split_once('/')?;
    Some((vin.parse().ok()?, rest))
}

impl Presence {
    /// Handles a message on `connector/status`. An empty one means that the vehicle was removed from
    /// the broker. Returns what has changed; `None` also if it is not a status.
    pub fn status(&mut self, vin: &Vin, payload: &[u8], retained: bool) -> Option<Changed> {
        let was_online = self.is_online(vin);
        if payload.is_empty() {
            self.vehicles.remove(vin)?;
        } else {
            let status = shortened(ConnectorStatus::from_payload(payload)?);
            let counter =
                if retained { &mut self.sources.retained } else { &mut self.sources.published };
            *counter += 1;
            let answered = match self.vehicles.get(vin) {
                None if retained => 0,
                Some(former) if retained && former.status.since == status.since => former.answered,
                // It has answered, or may have come online after the question.
                _ => self.questions,
            };
            self.vehicles.insert(vin.clone(), Seen { status, answered });
        }
        let is_online = self.is_online(vin);
        (is_online != was_online).then(|| Changed { vin: vin.clone(), is_online })
    }

    /// Whether a vehicle is online.
    #[must_use]
    pub fn is_online(&self, vin: &Vin) -> bool {
        self.get(vin).is_some_and(|status| status.status == Availability::Online)
    }

    /// Whether a vehicle is online as its broker has it, but does not answer the questions of its
    /// fleet. It has ended without a last will: nobody publishes that of a client whose node of a
    /// cluster has crashed.
    #[must_use]
    pub fn is_silent(&self, vin: &Vin) -> bool {
        let is_asked =
            |fleet: &str| self.asked.as_ref().is_some_and(|asked| asked.as_str() == fleet);
        self.vehicles.get(vin).is_some_and(|Seen { status, answered }| {
            status.status == Availability::Online
                && *answered < self.complete
                && status.fleet.as_deref().is_some_and(is_asked)
        })
    }

    /// The fleet is being asked who is there. Returns the number of the question.
    pub fn asked(&mut self, fleet: &FleetName) -> u64 {
        if self.asked.as_ref() != Some(fleet) {
            self.asked = Some(fleet.clone());
        }
        self.questions += 1;
        self.questions
    }

    /// The answers to this question, and to those before it, are complete.
    pub fn complete(&mut self, question: u64) {
        self.complete = self.complete.max(question);
    }

    /// The last status of a vehicle.
    #[must_use]
    pub fn get(&self, vin: &Vin) -> Option<&ConnectorStatus> {
        self.vehicles.get(vin).map(|seen| &seen.status)
    }

    /// All vehicles that were seen, with the labels that they declare.
    pub fn seen(&self) -> impl Iterator<Item = (Vin, Labels)> {
        self.vehicles.iter().map(|(vin, seen)| (vin.clone(), seen.status.labels.clone()))
    }

    /// The number of vehicles that were seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vehicles.len()
    }

    /// Whether no vehicle was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vehicles.is_empty()
    }

    /// How the statuses were found.
    #[must_use]
    pub fn sources(&self) -> Sources {
        self.sources
    }
}

/// A status without more text than a connector publishes: there is one of each vehicle in memory.
fn shortened(mut status: ConnectorStatus) -> ConnectorStatus {
    let shorten = |text: &mut String, max: usize| {
        if let Cow::Owned(short) = text::shortened(text, max) {
            *text = short;
        }
    };
    shorten(&mut status.version, MAX_NAME);
    let names = [&mut status.since, &mut status.replica, &mut status.fleet];
    names.into_iter().flatten().for_each(|name| shorten(name, MAX_NAME));
    if let Some(reason) = status.link.as_mut().and_then(|link| link.reason.as_mut()) {
        shorten(reason, MAX_MESSAGE);
    }
    if let Some(release) = status.revision.as_mut().and_then(|it| it.release.as_mut()) {
        shorten(release, MAX_NAME);
    }
    if let Some(trust) = &mut status.trust {
        shorten(&mut trust.fleet, MAX_NAME);
        trust.problem.iter_mut().for_each(|problem| shorten(problem, MAX_MESSAGE));
    }
    status.degraded.truncate(MAX_DEGRADED);
    status.degraded.iter_mut().for_each(|one| shorten(one, MAX_MESSAGE));
    // What is left has room for what it had before.
    status.degraded.shrink_to_fit();
    status
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn little_is_kept_of_a_large_status() {
        let (mut presence, vin) = (Presence::default(), "A1".parse::<Vin>().unwrap());
        let long = "ü".repeat(1 << 18);
        let labels: std::collections::BTreeMap<String, &str> =
            (0..1000).map(|number| (format!("l{number}"), "x")).collect();
        let status = json!({"status": "online", "version": long, "since": long, "replica": long,
            "fleet": long,
            "labels": labels, "ankaios": "connected", "reason": long, "revision": 3,
            "release": long, "trust": {"fleet": long, "version": 1, "problem": long},
            "degraded": vec![&long; 100], "other": long});
        presence.status(&vin, status.to_string().as_bytes(), true);
        let kept = presence.get(&vin).unwrap();
        assert!(kept.to_payload().len() < 8000, "{}", kept.to_payload().len());
        assert!(kept.labels.is_empty() && kept.version.ends_with('…'), "{kept:?}");
    }

    #[test]
    fn statuses_say_who_is_online() {
        let (mut presence, vin) = (Presence::default(), "A1".parse::<Vin>().unwrap());
        let online = br#"{"status": "online", "labels": {"region": "eu"}}"#;
        let changed = |is_online| Some(Changed { vin: vin.clone(), is_online });
        assert_eq!(presence.status(&vin, online, true), changed(true));
        assert_eq!(presence.status(&vin, online, false), None);
        assert_eq!(presence.status(&vin, b"{}", false), None);
        assert_eq!(presence.sources(), Sources { retained: 1, published: 1 });
        assert_eq!(presence.seen().next().unwrap().1.get("region"), Some("eu"));
        assert_eq!(presence.status(&vin, br#"{"status": "offline"}"#, false), changed(false));
        assert_eq!(presence.len(), 1);
        assert_eq!(presence.status(&vin, b"", true), None);
        assert!(presence.is_empty());
    }

    #[test]
    fn a_vehicle_of_the_fleet_that_does_not_answer_is_silent() {
        let mut presence = Presence::default();
        let vins = ["A1", "A2", "A3", "A4"].map(|vin| vin.parse::<Vin>().unwrap());
        let online = |fleet: &str, since: &str| {
            json!({"status": "online", "fleet": fleet, "since": since}).to_string().into_bytes()
        };
        let [answers, gone, other, offline] = &vins;
        let silent = |presence: &Presence| {
            let silent = vins.iter().filter(|vin| presence.is_silent(vin));
            silent.map(|vin| vin.as_str().to_owned()).collect::<Vec<_>>()
        };
        let first = presence.asked(&"cars".parse().unwrap());
        for (vin, fleet) in [(answers, "cars"), (gone, "cars"), (other, "vans")] {
            presence.status(vin, &online(fleet, "1"), true);
        }
        presence.status(offline, br#"{"status": "offline", "fleet": "cars"}"#, true);
        presence.status(answers, &online("cars", "1"), false);
        assert!(silent(&presence).is_empty());
        presence.complete(first);
        assert_eq!(silent(&presence), ["A2"]);
        // The same status is retained on another node, too.
        presence.status(answers, &online("cars", "1"), true);
        assert_eq!(silent(&presence), ["A2"]);
        presence.status(gone, &online("cars", "2"), true);
        assert!(silent(&presence).is_empty(), "it has come back");
        let second = presence.asked(&"cars".parse().unwrap());
        presence.asked(&"cars".parse().unwrap());
        presence.status(gone, &online("cars", "2"), false);
        assert!(silent(&presence).is_empty(), "nothing is complete");
        presence.complete(second);
        assert_eq!(silent(&presence), ["A1"]);
    }

    #[test]
    fn topics_name_a_vehicle() {
        let (vin, rest) = vehicle_of("vehicle/A1/connector/status").unwrap();
        assert_eq!((vin.as_str(), rest), ("A1", "connector/status"));
        for other in ["fleet/a/who", "vehicle/A1", "vehicle/ä/x", "vehicle//x", ""] {
            assert_eq!(vehicle_of(other), None, "{other}");
        }
    }
}
