//! The metrics, as a function of what is known of the fleet.

use std::collections::BTreeMap;

use fleet_contract::status::{
    AnkaiosLink, Availability, ConnectorStatus, RestoreState, RevisionReport,
};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::Vin;
use crate::inventory::Fleet;
use crate::presence::Presence;
use crate::rollout::{Halt, OutcomeKind, RequestKind};

/// Maximum number of different values of a label. More become `other`, so that the number of series
/// is bounded.
const MAX_VALUES: usize = 100;

type Labels = Vec<(String, String)>;

type Counts = BTreeMap<Labels, i64>;

/// What is known of the fleet.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) presence: &'a Presence,
    pub(crate) is_connected: bool,
    /// The roll-outs of this machine that are not over.
    pub(crate) rollouts: &'a [&'a RolloutCounts],
    /// The label by whose values vehicles are counted.
    pub(crate) group_by: Option<&'a str>,
    pub(crate) per_vehicle: bool,
}

/// A roll-out that is not over.
#[derive(Debug)]
pub(crate) struct RolloutCounts {
    pub(crate) id: String,
    pub(crate) state: RolloutState,
    /// The wave in progress, from 1.
    pub(crate) wave: usize,
    /// How many waves there are.
    pub(crate) waves: usize,
    /// The number of vehicles per outcome; `None` for those in progress.
    pub(crate) vehicles: BTreeMap<Option<OutcomeKind>, usize>,
    /// The number of requests that were sent.
    pub(crate) requests: BTreeMap<RequestKind, u64>,
}

/// What a roll-out does that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RolloutState {
    Running,
    /// Nobody has stopped it for good: it goes on with `rollout resume`.
    Paused,
    /// A limit, a gate or the operator has stopped it.
    Stopped,
}

impl RolloutState {
    const ALL: [Self; 3] = [Self::Running, Self::Paused, Self::Stopped];

    /// Why nothing new is sent, as a state.
    pub(crate) fn of(halt: Option<&Halt>) -> Self {
        match halt {
            None => Self::Running,
            Some(Halt::Paused | Halt::Until | Halt::NoneOnline) => Self::Paused,
            Some(
                Halt::Failures { .. }
                | Halt::Unreachable { .. }
                | Halt::NoSuccess { .. }
                | Halt::Gate { .. }
                | Halt::Undo
                | Halt::Aborted,
            ) => Self::Stopped,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

fn request_name(request: RequestKind) -> &'static str {
    match request {
        RequestKind::Change => "change",
        RequestKind::Confirm => "confirm",
        RequestKind::Undo => "undo",
    }
}

/// The metrics as OpenMetrics text.
pub(crate) fn text(snapshot: &Snapshot<'_>) -> String {
    let mut registry = Registry::with_prefix("ank_fleet");
    let mut add = |name: &str, help: &str, counts: Counts| {
        registry.register(name, help, gauges(counts));
    };
    let version = Counts::from([(vec![owned(("version", env!("CARGO_PKG_VERSION")))], 1)]);
    add("build_info", "The version of ank-fleet", version);
    add(
        "mqtt_connected",
        "1 while there is a connection to the broker",
        Counts::from([(Vec::new(), snapshot.is_connected.into())]),
    );
    let count = |name: &str, value: &dyn Fn(Option<&ConnectorStatus>) -> Option<String>| {
        count(snapshot, Some(name), value)
    };
    add(
        "vehicles",
        "Vehicles by the status of their connector",
        count_vehicles(snapshot, Some("status"), &|vin| Some(status_of(snapshot, vin).into())),
    );
    add(
        "vehicles_by_version",
        "Vehicles by the version of their connector",
        count("version", &|status| status.map(|status| status.version.clone())),
    );
    add(
        "vehicles_by_release",
        "Vehicles that are online, by the release of their current revision",
        count("release", &|status| Some(online(status)?.release.clone().unwrap_or_default())),
    );
    add(
        "vehicles_by_ankaios_link",
        "Vehicles that are online, by their link to Ankaios",
        count("link", &|status| Some(link_name(status?.link.as_ref()?.ankaios).to_owned())),
    );
    add(
        "vehicles_by_rollout",
        "Vehicles that are online, by the status of their current revision",
        count("state", &|status| Some(online(status)?.rollout?.name().to_owned())),
    );
    add(
        "vehicles_by_restore",
        "Vehicles whose changes are not in place",
        count("state", &|status| Some(restore_name(online(status)?.restore?).to_owned())),
    );
    add(
        "vehicles_degraded",
        "Vehicles whose broker does not offer or allow everything",
        self::count(snapshot, None, &|status| {
            status.filter(|status| !status.degraded.is_empty()).map(|_| String::new())
        }),
    );
    if snapshot.per_vehicle {
        add("vehicle_info", "1 for each vehicle", vehicles(snapshot));
    }
    add_rollouts(&mut registry, snapshot.rollouts);
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes everything");
    text
}

/// Adds the metrics of roll-outs.
fn add_rollouts(registry: &mut Registry, rollouts: &[&RolloutCounts]) {
    let (mut states, mut wave, mut waves) = (Counts::new(), Counts::new(), Counts::new());
    let mut outcomes = Counts::new();
    let requests = Family::<Labels, Counter>::default();
    for rollout in rollouts.iter().take(MAX_VALUES) {
        let labels = |more: Option<(&str, &str)>| -> Labels {
            [("rollout", rollout.id.as_str())].into_iter().chain(more).map(owned).collect()
        };
        for state in RolloutState::ALL {
            let labels = labels(Some(("state", state.name())));
            states.insert(labels, i64::from(state == rollout.state));
        }
        wave.insert(labels(None), number(rollout.wave));
        waves.insert(labels(None), number(rollout.waves));
        for (outcome, count) in &rollout.vehicles {
            let outcome = outcome.map_or("in_progress", OutcomeKind::name);
            outcomes.insert(labels(Some(("outcome", outcome))), number(*count));
        }
        for (request, count) in &rollout.requests {
            let labels = labels(Some(("request", request_name(*request))));
            requests.get_or_create(&labels).inc_by(*count);
        }
    }
    let mut add = |name: &str, help: &str, counts| registry.register(name, help, gauges(counts));
    add("rollout_state", "1 for the state of a roll-out that is not over", states);
    add("rollout_wave", "The wave in progress, from 1", wave);
    add("rollout_waves", "The number of waves", waves);
    add("rollout_vehicles", "Vehicles of roll-outs that are not over, by outcome", outcomes);
    registry.register("rollout_requests", "Requests that were sent", requests);
}

fn gauges(counts: Counts) -> Family<Labels, Gauge> {
    let family = Family::<Labels, Gauge>::default();
    for (labels, count) in counts {
        family.get_or_create(&labels).set(count);
    }
    family
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// One series for each vehicle.
fn vehicles(snapshot: &Snapshot<'_>) -> Counts {
    let info = snapshot.fleet.vehicles().map(|(vin, _)| {
        let status = snapshot.presence.get(vin);
        let version = status.map(|status| status.version.clone()).unwrap_or_default();
        let release = online(status).and_then(|revision| revision.release.clone());
        let labels = [
            ("vin", vin.as_str()),
            ("status", status_of(snapshot, vin)),
            ("version", &version),
            ("release", &release.unwrap_or_default()),
        ];
        (labels.map(owned).into(), 1)
    });
    info.collect()
}

/// The revision of a vehicle that is online, and keeps revisions.
fn online(status: Option<&ConnectorStatus>) -> Option<&RevisionReport> {
    status?.revision.as_ref()
}

/// Counts vehicles for whose status there is a value, see [`count_vehicles`].
fn count(
    snapshot: &Snapshot<'_>,
    name: Option<&str>,
    value: &dyn Fn(Option<&ConnectorStatus>) -> Option<String>,
) -> Counts {
    count_vehicles(snapshot, name, &|vin| value(snapshot.presence.get(vin)))
}

/// Counts vehicles for which there is a value, by this value if it has a name, and by the label of
/// the snapshot.
fn count_vehicles(
    snapshot: &Snapshot<'_>,
    name: Option<&str>,
    value: &dyn Fn(&Vin) -> Option<String>,
) -> Counts {
    let mut counts = Counts::new();
    let mut known: [Vec<String>; 2] = Default::default();
    let [values, groups] = &mut known;
    let bounded = |values: &mut Vec<String>, value: String| {
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
        let value = value(vin);
        let number = i64::from(value.is_some());
        let mut labels = Labels::new();
        match (name, value) {
            (Some(name), Some(value)) => labels.push((name.to_owned(), bounded(values, value))),
            (Some(_), None) => continue,
            (None, _) => {}
        }
        if let Some(key) = snapshot.group_by {
            let group = vehicle.labels.get(key).unwrap_or_default().to_owned();
            labels.push((label_name(key), bounded(groups, group)));
        }
        *counts.entry(labels).or_default() += number;
    }
    counts
}

fn status_of(snapshot: &Snapshot<'_>, vin: &Vin) -> &'static str {
    match snapshot.presence.get(vin).map(|status| status.status) {
        Some(Availability::Online) if snapshot.presence.is_silent(vin) => "silent",
        Some(Availability::Online) => "online",
        Some(Availability::Offline) => "offline",
        None => "unseen",
    }
}

/// The name of a vehicle's label as Prometheus allows it, and as no metric has another one.
fn label_name(key: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name: String = key.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    let is_taken = ["status", "version", "release", "link", "state"].contains(&name.as_str());
    if is_taken || name.starts_with(|c: char| c.is_ascii_digit()) {
        return format!("label_{name}");
    }
    name
}

fn restore_name(restore: RestoreState) -> &'static str {
    match restore {
        RestoreState::Pending => "pending",
        RestoreState::Refused => "refused",
        RestoreState::GivenUp => "given_up",
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::inventory::Inventory;

    #[test]
    fn vehicles_are_counted_by_what_they_say_and_by_group() {
        let mut presence = Presence::default();
        let status = br#"{"status": "online", "version": "1.0", "ankaios": "connected",
            "revision": 3, "release": "7", "rollout": "succeeded", "restore": "refused",
            "degraded": ["no retained messages"], "labels": {"region": "eu"}}"#;
        presence.status(&"A1".parse().unwrap(), status, true);
        presence.status(&"A2".parse().unwrap(), br#"{"status": "offline"}"#, true);
        let question = presence.asked(&"cars".parse().unwrap());
        let silent = br#"{"status": "online", "fleet": "cars"}"#;
        presence.status(&"A4".parse().unwrap(), silent, true);
        presence.complete(question);
        let inventory = Inventory::parse_csv("vin\nA3\n").unwrap();
        let fleet = Fleet::new(Some(&inventory), presence.seen());
        let rollout = RolloutCounts {
            id: "7f3a".to_owned(),
            state: RolloutState::of(Some(&Halt::Failures { wave: 2 })),
            wave: 2,
            waves: 3,
            vehicles: [(None, 2), (Some(OutcomeKind::Failed), 1)].into(),
            requests: [(RequestKind::Change, 3)].into(),
        };
        let mut snapshot = Snapshot {
            fleet: &fleet,
            presence: &presence,
            is_connected: true,
            rollouts: &[&rollout],
            group_by: Some("region"),
            per_vehicle: false,
        };
        let page = text(&snapshot);
        for line in [
            "ank_fleet_mqtt_connected{} 1",
            "ank_fleet_vehicles{status=\"online\",region=\"eu\"} 1",
            "ank_fleet_vehicles{status=\"offline\",region=\"\"} 1",
            "ank_fleet_vehicles{status=\"silent\",region=\"\"} 1",
            "ank_fleet_vehicles{status=\"unseen\",region=\"\"} 1",
            "ank_fleet_vehicles_by_release{release=\"7\",region=\"eu\"} 1",
            "ank_fleet_vehicles_by_ankaios_link{link=\"connected\",region=\"eu\"} 1",
            "ank_fleet_vehicles_by_rollout{state=\"succeeded\",region=\"eu\"} 1",
            "ank_fleet_vehicles_by_restore{state=\"refused\",region=\"eu\"} 1",
            "ank_fleet_vehicles_degraded{region=\"eu\"} 1",
            "ank_fleet_rollout_state{rollout=\"7f3a\",state=\"stopped\"} 1",
            "ank_fleet_rollout_state{rollout=\"7f3a\",state=\"running\"} 0",
            "ank_fleet_rollout_wave{rollout=\"7f3a\"} 2",
            "ank_fleet_rollout_waves{rollout=\"7f3a\"} 3",
            "ank_fleet_rollout_vehicles{rollout=\"7f3a\",outcome=\"in_progress\"} 2",
            "ank_fleet_rollout_vehicles{rollout=\"7f3a\",outcome=\"failed\"} 1",
            "ank_fleet_rollout_requests_total{rollout=\"7f3a\",request=\"change\"} 3",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("vin="));
        snapshot.per_vehicle = true;
        let info =
            "ank_fleet_vehicle_info{vin=\"A1\",status=\"online\",version=\"1.0\",release=\"7\"} 1";
        assert!(text(&snapshot).contains(info));
        snapshot.group_by = None;
        assert!(text(&snapshot).contains("ank_fleet_vehicles_degraded{} 1\n"));
    }

    #[test]
    fn labels_get_names_that_prometheus_allows() {
        for (key, name) in [
            ("region", "region"),
            ("example.com/fuel-type", "example_com_fuel_type"),
            ("version", "label_version"),
            ("4x4", "label_4x4"),
        ] {
            assert_eq!(label_name(key), name);
        }
    }

    /// The metrics and labels of a page, without the label of `--group-by`.
    fn names(page: &str) -> BTreeSet<(String, BTreeSet<String>)> {
        let series = page.lines().filter(|line| !line.starts_with('#'));
        let named = series.map(|line| {
            let name = line.split(['{', ' ']).next().unwrap();
            let labels =
                line.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap());
            let labels = labels.split("\",").filter_map(|pair| pair.split_once('='));
            let labels = labels.map(|(name, _)| name.to_owned()).filter(|name| name != "region");
            (name.to_owned(), labels.collect())
        });
        named.collect()
    }

    #[test]
    fn the_manual_has_exactly_these_metrics() {
        let manual = include_str!("../../../../docs/operations.md");
        let rows = manual.lines().filter_map(|line| line.strip_prefix("| `ank_fleet_"));
        let documented: BTreeSet<_> = rows
            .map(|row| {
                let series = row.split('`').next().unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let labels = labels.trim_end_matches('}').split(',');
                let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
                (format!("ank_fleet_{name}"), labels.collect())
            })
            .collect();
        let mut presence = Presence::default();
        let status = br#"{"status": "online", "version": "1.0", "ankaios": "connected",
            "revision": 3, "rollout": "succeeded", "restore": "pending"}"#;
        presence.status(&"A1".parse().unwrap(), status, true);
        let snapshot = Snapshot {
            fleet: &Fleet::new(None, presence.seen()),
            presence: &presence,
            is_connected: true,
            rollouts: &[&RolloutCounts {
                id: "7f3a".to_owned(),
                state: RolloutState::Running,
                wave: 1,
                waves: 1,
                vehicles: [(None, 1)].into(),
                requests: [(RequestKind::Change, 1)].into(),
            }],
            group_by: Some("region"),
            per_vehicle: true,
        };
        assert_eq!(names(&text(&snapshot)), documented);
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
            rollouts: &[],
            group_by: None,
            per_vehicle: false,
        };
        let page = text(&snapshot);
        let series = page.lines().filter(|line| line.starts_with("ank_fleet_vehicles_by_version{"));
        assert_eq!(series.count(), MAX_VALUES + 1);
        assert!(page.contains("{version=\"other\"} 200"));
    }
}
