//! The metrics, as a function of what is known of the fleet.

use std::collections::BTreeMap;

use fleet_contract::status::{AnkaiosLink, Availability, ConnectorStatus};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::inventory::Fleet;
use crate::presence::Presence;
use crate::rollout::OutcomeKind;

/// Maximum number of different values of a label. More become `other`, so that the number of series
/// is bounded.
const MAX_VALUES: usize = 100;

type Counts = BTreeMap<Vec<(&'static str, String)>, i64>;

/// What is known of the fleet.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) presence: &'a Presence,
    pub(crate) is_connected: bool,
    /// The roll-outs of this machine that are not over, with the number of vehicles per outcome.
    pub(crate) rollouts: Vec<(String, RolloutCounts)>,
    /// The label by whose values vehicles are counted.
    pub(crate) group_by: Option<&'a str>,
    pub(crate) per_vehicle: bool,
}

/// The number of vehicles of a roll-out per outcome; `None` for those in progress.
pub(crate) type RolloutCounts = BTreeMap<Option<OutcomeKind>, usize>;

/// The metrics as OpenMetrics text.
pub(crate) fn text(snapshot: &Snapshot<'_>) -> String {
    let mut registry = Registry::with_prefix("ank_fleet");
    let connected = Gauge::<i64>::default();
    connected.set(snapshot.is_connected.into());
    registry.register("broker_connected", "1 while there is a connection to the broker", connected);
    let mut add = |name: &str, help: &str, counts: Counts| {
        let family = Family::<Vec<(String, String)>, Gauge>::default();
        for (labels, count) in counts {
            let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            family.get_or_create(&labels).set(count);
        }
        registry.register(name, help, family);
    };
    let count = |name: &'static str, value: &dyn Fn(Option<&ConnectorStatus>) -> Option<String>| {
        count(snapshot, name, value)
    };
    add(
        "vehicles",
        "Vehicles by status",
        count("status", &|status| Some(status_of(status).into())),
    );
    add(
        "vehicles_by_version",
        "Vehicles by the version of their connector",
        count("version", &|status| status.map(|status| status.version.clone())),
    );
    add(
        "vehicles_by_release",
        "Vehicles by the release of their current revision",
        count("release", &|status| status?.revision.as_ref()?.release.clone()),
    );
    add(
        "vehicles_by_ankaios",
        "Vehicles by the state of their link to Ankaios",
        count("ankaios", &|status| Some(link_name(status?.link.as_ref()?.ankaios).to_owned())),
    );
    add(
        "vehicles_by_rollout",
        "Vehicles by the status of their current revision",
        count("rollout", &|status| Some(status?.revision.as_ref()?.rollout?.name().to_owned())),
    );
    let mut outcomes = Counts::new();
    for (id, counts) in snapshot.rollouts.iter().take(MAX_VALUES) {
        for (outcome, count) in counts {
            let outcome = outcome.map_or("in_progress", OutcomeKind::name).to_owned();
            let labels = vec![("id", id.clone()), ("outcome", outcome)];
            outcomes.insert(labels, i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }
    add("rollout_vehicles", "Vehicles of roll-outs that are not over, by outcome", outcomes);
    if snapshot.per_vehicle {
        let online = snapshot.fleet.vehicles().map(|(vin, _)| {
            let is_online = snapshot.presence.is_online(vin);
            (vec![("vin", vin.to_string())], i64::from(is_online))
        });
        add("vehicle_online", "1 while the vehicle is online", online.collect());
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes everything");
    text
}

/// Counts vehicles by a value of their status, and by group.
fn count(
    snapshot: &Snapshot<'_>,
    name: &'static str,
    value: &dyn Fn(Option<&ConnectorStatus>) -> Option<String>,
) -> Counts {
    let mut counts = Counts::new();
    let mut known: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut bounded = |label: &'static str, value: String| {
        let values = known.entry(label).or_default();
        if values.contains(&value) {
            return value;
        }
        if values.len() >= MAX_VALUES {
            return "other".to_owned();
        }
        values.push(value.clone());
        value
    };
    for (vin, vehicle) in snapshot.fleet.vehicles() {
        let Some(value) = value(snapshot.presence.get(vin)) else { continue };
        let mut labels = vec![(name, bounded(name, value))];
        if let Some(key) = snapshot.group_by {
            let group = vehicle.labels.get(key).unwrap_or_default().to_owned();
            labels.push(("group", bounded("group", group)));
        }
        *counts.entry(labels).or_default() += 1;
    }
    counts
}

fn status_of(status: Option<&ConnectorStatus>) -> &'static str {
    match status.map(|status| status.status) {
        Some(Availability::Online) => "online",
        Some(Availability::Offline) => "offline",
        None => "not_seen",
    }
}

fn link_name(link: AnkaiosLink) -> &'static str {
    match link {
        AnkaiosLink::Connected => "connected",
        AnkaiosLink::Disconnected => "disconnected",
        AnkaiosLink::Closed => "closed",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::inventory::Inventory;

    #[test]
    fn vehicles_are_counted_by_what_they_say_and_by_group() {
        let mut presence = Presence::default();
        let status = br#"{"status": "online", "version": "1.0", "ankaios": "connected",
            "revision": 3, "release": "7", "rollout": "succeeded", "labels": {"region": "eu"}}"#;
        presence.status(&"A1".parse().unwrap(), status, true);
        presence.status(&"A2".parse().unwrap(), br#"{"status": "offline"}"#, true);
        let inventory = Inventory::parse_csv("vin\nA3\n").unwrap();
        let fleet = Fleet::new(Some(&inventory), presence.seen());
        let counts = RolloutCounts::from([(None, 2), (Some(OutcomeKind::Failed), 1)]);
        let mut snapshot = Snapshot {
            fleet: &fleet,
            presence: &presence,
            is_connected: true,
            rollouts: vec![("7f3a".to_owned(), counts)],
            group_by: Some("region"),
            per_vehicle: false,
        };
        let page = text(&snapshot);
        for line in [
            "ank_fleet_broker_connected 1",
            "ank_fleet_vehicles{status=\"online\",group=\"eu\"} 1",
            "ank_fleet_vehicles{status=\"offline\",group=\"\"} 1",
            "ank_fleet_vehicles{status=\"not_seen\",group=\"\"} 1",
            "ank_fleet_vehicles_by_release{release=\"7\",group=\"eu\"} 1",
            "ank_fleet_vehicles_by_ankaios{ankaios=\"connected\",group=\"eu\"} 1",
            "ank_fleet_vehicles_by_rollout{rollout=\"succeeded\",group=\"eu\"} 1",
            "ank_fleet_rollout_vehicles{id=\"7f3a\",outcome=\"in_progress\"} 2",
            "ank_fleet_rollout_vehicles{id=\"7f3a\",outcome=\"failed\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("vin="));
        snapshot.per_vehicle = true;
        assert!(text(&snapshot).contains("ank_fleet_vehicle_online{vin=\"A1\"} 1"));
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let mut presence = Presence::default();
        for number in 0..300 {
            let vin = format!("A{number}").parse().unwrap();
            let status = format!("{{\"status\": \"online\", \"version\": \"{number}\"}}");
            presence.status(&vin, status.as_bytes(), true);
        }
        let fleet = Fleet::new(None, presence.seen());
        let snapshot = Snapshot {
            fleet: &fleet,
            presence: &presence,
            is_connected: true,
            rollouts: Vec::new(),
            group_by: None,
            per_vehicle: false,
        };
        let page = text(&snapshot);
        let series = page.lines().filter(|line| line.starts_with("ank_fleet_vehicles_by_version{"));
        assert_eq!(series.count(), MAX_VALUES + 1);
        assert!(page.contains("{version=\"other\"} 200"));
    }
}
