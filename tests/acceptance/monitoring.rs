//! Alerts and dashboards use only metrics and labels that exist. `make check-contract` runs the alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::openmetrics::Scrape;
use crate::support::{Scene, free_port};

const OPERATIONS: &str = include_str!("../../docs/operations.md");
const README: &str = include_str!("../../README.md");
const ALERTS: &str = include_str!("../../docs/alerts.yaml");
const TESTS: &str = include_str!("../../docs/alerts.test.yaml");

/// Names of metrics, each with the names of its labels.
type Metrics = BTreeMap<String, BTreeSet<String>>;

/// The labels that Prometheus adds, those of the buckets of histograms, and one of `--group-by`.
const ADDED: [&str; 4] = ["instance", "job", "le", "region"];

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

fn dashboards() -> Vec<(&'static str, Value)> {
    let read = |name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/grafana").join(name);
        (name, serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    };
    ["connector.json", "fleet.json"].map(read).into()
}

/// The alerts, by name.
fn alerts() -> BTreeMap<String, Value> {
    let alerts = yaml(ALERTS);
    let groups = alerts["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.map(|rule| (rule["alert"].as_str().unwrap().to_owned(), rule.clone())).collect()
}

/// All texts in a value under these keys.
fn texts<'a>(value: &'a Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match field.as_str() {
                    Some(text) if keys.contains(&key.as_str()) => found.push(text),
                    _ => texts(field, keys, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, keys, found)),
        _ => {}
    }
}

/// The metrics in queries, with the labels in their braces.
fn used(queries: &[&str]) -> Metrics {
    let mut used = Metrics::new();
    for query in queries {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for (index, _) in query.match_indices(|c: char| c.is_ascii_lowercase()) {
            let (before, rest) = query.split_at(index);
            let name = rest.split(|c| !is_name(c)).next().unwrap();
            let is_metric = ["fleet_connector_", "ank_fleet_", "process_"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
            if !is_metric || before.ends_with(is_name) {
                continue;
            }
            let labels = used.entry(name.to_owned()).or_default();
            let Some(selector) = rest[name.len()..].strip_prefix('{') else { continue };
            let selector = selector.split('}').next().unwrap();
            // The parts outside of quotes.
            for part in selector.split('"').step_by(2) {
                let label = part.trim_start_matches(',').trim().trim_end_matches(['=', '!', '~']);
                if !label.is_empty() {
                    labels.insert(label.to_owned());
                }
            }
        }
    }
    used
}

/// All metrics that alerts, their tests and dashboards use.
fn all_used() -> Metrics {
    let documents: Vec<_> = [yaml(ALERTS), yaml(TESTS)]
        .into_iter()
        .chain(dashboards().into_iter().map(|(_, dashboard)| dashboard))
        .collect();
    let mut queries = Vec::new();
    for document in &documents {
        texts(document, &["expr", "series", "query"], &mut queries);
    }
    used(&queries)
}

/// Asserts that each metric that is used exists, and has the labels.
fn assert_exist(used: &Metrics, existing: &Metrics) {
    for (name, labels) in used {
        let found = existing.get(name).unwrap_or_else(|| panic!("there is no metric {name}"));
        for label in labels {
            let is_known = ADDED.contains(&label.as_str()) || found.contains(label);
            assert!(is_known, "{name} has no label {label}");
        }
    }
}

/// The metrics in the tables of a document. Some rows abbreviate with braces, such as
/// `…_{sent,received}_bytes_total`, and histograms have no suffix.
fn documented(document: &str, prefix: &str) -> Metrics {
    let rows = document.lines().filter(|line| line.starts_with('|'));
    let spans = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let spans = spans.filter(|span| span.starts_with(prefix));
    let labels = |list: &str| list.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
    spans
        .flat_map(|span| match span.strip_suffix('}').and_then(|span| span.rsplit_once('{')) {
            Some((name, list)) if !name.ends_with('_') => vec![(name.to_owned(), labels(list))],
            _ => vec![(span.to_owned(), BTreeSet::new())],
        })
        .collect()
}

#[tokio::test]
async fn each_query_uses_metrics_of_the_connector_that_exist() {
    let state_dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let settings = [
        ("STATE_DIR", state_dir.path().to_str().unwrap()),
        ("HEALTH_ADDR", &format!("127.0.0.1:{port}")),
    ];
    let scene = Scene::with(&settings).await;
    // So that there are samples for an operation.
    scene.request("state", "[]").await;
    let scrape = Scrape::of(port).await;
    let mut existing = Metrics::new();
    for sample in scrape.samples() {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let labels = labels.split('"').step_by(2).map(|label| label.trim_matches([',', '=', '}']));
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
        existing.entry(name.to_owned()).or_default().extend(labels);
    }
    // Only with a client certificate; tests/acceptance/tls.rs has one.
    let name = "fleet_connector_mqtt_client_certificate_expiry_timestamp_seconds";
    existing.insert(name.to_owned(), BTreeSet::new());
    let mut used = all_used();
    used.retain(|name, _| !name.starts_with("ank_fleet_"));
    assert!(used.len() > 20, "{used:?}");
    assert_exist(&used, &existing);
}

#[test]
fn each_query_uses_metrics_of_the_fleet_that_are_documented() {
    let documented = documented(OPERATIONS, "ank_fleet_");
    let mut used = all_used();
    used.retain(|name, _| name.starts_with("ank_fleet_"));
    assert!(used.len() > 10, "{used:?}");
    assert_exist(&used, &documented);
    // Those for single vehicles are too many for a dashboard.
    for name in documented.keys().filter(|name| !name.starts_with("ank_fleet_vehicle_")) {
        assert!(used.contains_key(name), "no dashboard has {name}");
    }
}

#[test]
fn the_dashboard_of_the_connector_has_all_its_metrics() {
    let (_, dashboard) = dashboards().swap_remove(0);
    let mut queries = Vec::new();
    texts(&dashboard, &["expr"], &mut queries);
    let queries = queries.join("\n");
    let names = documented(README, "fleet_connector_");
    assert!(names.len() > 15, "{names:?}");
    for name in names.keys() {
        let name = name.split('{').next().unwrap();
        assert!(queries.contains(name), "no panel has {name}");
    }
}

#[test]
fn each_alert_is_tested_and_explained() {
    let tests = yaml(TESTS);
    let cases = tests["tests"].as_array().unwrap().iter();
    let cases = cases.flat_map(|test| test["alert_rule_test"].as_array().into_iter().flatten());
    let fires = |case: &&Value| !case["exp_alerts"].as_array().unwrap().is_empty();
    let tested: BTreeSet<_> =
        cases.filter(fires).map(|case| case["alertname"].as_str().unwrap().to_owned()).collect();
    let alerts = alerts();
    assert!(alerts.len() > 20);
    assert_eq!(tested, alerts.keys().cloned().collect());
    for (name, rule) in alerts {
        assert!(OPERATIONS.contains(&format!("| `{name}` |")), "docs/operations.md: {name}");
        assert!(rule["annotations"]["summary"].is_string(), "{name}");
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning")), "{name}: {severity:?}");
    }
}

#[test]
fn each_panel_says_what_it_shows_and_asks_the_chosen_data_source() {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    for (name, dashboard) in dashboards() {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert_eq!(variables[0]["name"], "datasource", "{name}");
        assert_eq!(variables[0]["type"], "datasource", "{name}");
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{name}");
        let mut cells = BTreeSet::new();
        for panel in panels {
            let title = format!("{name}: {}", panel["title"]);
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= 24, "{title}");
            for cell in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y))) {
                assert!(cells.insert(cell), "{title} is on top of another panel");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(panel["description"].as_str().unwrap().ends_with('.'), "{title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
            assert_eq!(panel["datasource"], source, "{title}");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"], source, "{title}");
            }
        }
    }
}
