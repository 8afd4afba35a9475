#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use fleet_contract::revision::{ChangedItems, HistoryReply, RevisionStatus, RevisionSummary};
use serde_json::{Value, json};

use super::*;
use crate::rollout::{Change, Settled};

const MANIFEST: &str = "apiVersion: v1
workloads:
  nginx:
    runtime: podman
    agent: agent_A
    runtimeConfig: |
      image: docker.io/nginx:1.29
configs:
  c: {a: x}
";

fn wanted(operation: Change) -> WantedChange {
    WantedChange::parse(operation, MANIFEST.as_bytes()).unwrap()
}

fn workload(agent: &str, tag: &str) -> Value {
    json!({"runtime": "podman", "agent": agent, "restartPolicy": "NEVER",
        "runtimeConfig": format!("image: docker.io/nginx:{tag}\n")})
}

fn known(workload: Option<Value>, config: Option<Value>, states: &Value) -> Known {
    let mut desired = json!({"apiVersion": "v1", "workloads": {}, "configs": {}});
    if let Some(workload) = workload {
        desired["workloads"]["nginx"] = workload;
    }
    if let Some(config) = config {
        desired["configs"]["c"] = config;
    }
    let state = json!({"desiredState": desired, "workloadStates": states});
    Known::parse(state.to_string().as_bytes()).unwrap()
}

fn described(wanted: &WantedChange, known: &Known) -> String {
    group([("A1".parse().unwrap(), wanted.diff(known))])[0].to_string()
}

#[test]
fn changes_are_described_in_short() {
    let c = || Some(json!({"a": "x"}));
    for (workload, config, expected) in [
        (Some(workload("agent_A", "1.29")), c(), "unchanged"),
        (Some(workload("agent_A", "1.28")), c(), "nginx 1.28 → 1.29"),
        (Some(workload("agent_B", "1.29")), c(), "nginx agent_B → agent_A"),
        (None, c(), "nginx new"),
        (Some(workload("agent_A", "1.29")), Some(json!("y")), "config c changed"),
        (None, None, "nginx new; config c new"),
    ] {
        let known = known(workload, config, &json!({}));
        assert_eq!(described(&wanted(Change::Apply), &known), expected);
    }
    let mut other = workload("agent_A", "1.29");
    other["runtimeConfig"] = json!("image: docker.io/nginx:1.29");
    let known_other = known(Some(other.clone()), c(), &json!({}));
    assert_eq!(described(&wanted(Change::Apply), &known_other), "unchanged");
    other["restartPolicy"] = json!("ALWAYS");
    other["runtimeConfig"] = json!("image: docker.io/nginx:1.29\ncommandOptions: [\"-x\"]\n");
    assert_eq!(
        described(&wanted(Change::Apply), &known(Some(other), c(), &json!({}))),
        "nginx restartPolicy changed, runtimeConfig changed"
    );
}

#[test]
fn what_vehicles_have_is_kept_in_short() {
    let known = known(Some(workload("agent_A", &"1".repeat(1 << 20))), None, &json!({}));
    let described = described(&wanted(Change::Apply), &known);
    assert!(described.len() < 400, "{}", described.len());
    assert!(
        described.starts_with("nginx 1111") && described.contains("1… → 1.29; "),
        "{described}"
    );
}

#[test]
fn a_delete_is_a_change_if_something_is_there() {
    let there = known(Some(workload("agent_A", "1")), None, &json!({}));
    assert_eq!(described(&wanted(Change::Delete), &there), "nginx deleted");
    assert_eq!(described(&wanted(Change::Delete), &known(None, None, &json!({}))), "unchanged");
}

#[test]
fn an_update_changes_what_its_masks_name() {
    let payload = json!({"update_mask": ["desiredState.workloads.nginx.agent"],
        "state": {"desiredState": {"workloads": {"nginx": {"agent": "agent_C"}}}}});
    let wanted = WantedChange::parse(Change::Update, payload.to_string().as_bytes()).unwrap();
    let known = known(Some(workload("agent_A", "1")), None, &json!({}));
    assert_eq!(described(&wanted, &known), "nginx agent_A → agent_C");
    assert!(WantedChange::parse(Change::Update, b"{}").is_err());
    assert!(WantedChange::parse(Change::Apply, b"workloads:").is_err());
}

#[test]
fn vehicles_with_the_same_answer_are_a_group() {
    let wanted = wanted(Change::Apply);
    let diffs = [("A3", None), ("A1", Some("1.28")), ("A2", Some("1.28"))].map(|(vin, tag)| {
        let known =
            known(tag.map(|tag| workload("agent_A", tag)), Some(json!({"a": "x"})), &json!({}));
        (vin.parse().unwrap(), wanted.diff(&known))
    });
    let groups = group(diffs);
    let counts: Vec<_> = groups.iter().map(|it| (it.vins.len(), it.to_string())).collect();
    assert_eq!(counts, [(2, "nginx 1.28 → 1.29".to_owned()), (1, "nginx new".to_owned())]);
}

fn states(state: &str, substate: &str) -> Value {
    json!({"agent_A": {"nginx": {"id": {"state": state, "subState": substate,
        "additionalInfo": "No such image"}}, "other": {"id": {"state": "Failed",
        "subState": "ExecFailed"}}}})
}

fn history(revisions: &[(u64, &str)]) -> HistoryReply {
    let summary = |&(revision, request_id): &(u64, &str)| RevisionSummary {
        revision,
        at: String::new(),
        operation: "manifest/apply".into(),
        request_id: request_id.into(),
        release: None,
        signed_by: Vec::new(),
        status: RevisionStatus::Succeeded,
        reverts: None,
        changed: ChangedItems::default(),
    };
    let current = revisions.iter().map(|it| it.0).max().unwrap_or_default();
    HistoryReply { current, revisions: revisions.iter().map(summary).collect() }
}

#[test]
fn the_states_of_the_workloads_of_the_change_count() {
    let id = "7f3a".parse().unwrap();
    let settled = |states: &Value, operation| {
        let known = known(Some(workload("agent_A", "1.29")), None, states);
        vehicle_state(&Observed::new(&known, &wanted(operation)), None, &id).workloads
    };
    assert_eq!(settled(&states("Running", "Ok"), Change::Apply), Settled::Up);
    assert_eq!(settled(&states("Succeeded", "Ok"), Change::Apply), Settled::Up);
    assert_eq!(settled(&states("Pending", "Starting"), Change::Apply), Settled::Starting);
    assert_eq!(settled(&json!({}), Change::Apply), Settled::Starting);
    let message = "Pending(StartingFailed): No such image".to_owned();
    let failed = Settled::Failed { workload: "nginx".into(), message };
    assert_eq!(settled(&states("Pending", "StartingFailed"), Change::Apply), failed);
    assert_eq!(settled(&states("Stopping", "Stopping"), Change::Delete), Settled::Up);
    assert_eq!(settled(&json!({}), Change::Delete), Settled::Up);
}

#[test]
fn the_history_says_what_the_rollout_has_made() {
    let id = "7f3a".parse().unwrap();
    let read = |revisions: &[(u64, &str)]| {
        let known = known(None, None, &json!({}));
        let observed = Observed::new(&known, &wanted(Change::Apply));
        let state = vehicle_state(&observed, Some(&history(revisions)), &id);
        (state.own.map(|own| (own.revision, own.is_current)), state.is_undone)
    };
    assert_eq!(read(&[(1, "7f3ab/1/A/1")]), (None, false));
    assert_eq!(read(&[(3, "7f3a/1/A/2"), (2, "7f3a/1/A/1")]), (Some((3, true)), false));
    assert_eq!(read(&[(3, "other"), (2, "7f3a/1/A/1")]), (Some((2, false)), false));
    assert_eq!(read(&[(3, "undo-7f3a/1/A/2"), (2, "7f3a/1/A/1")]), (Some((2, false)), true));
    assert_eq!(read(&[(4, "7f3a/1/A/3"), (3, "undo-7f3a/1/A/2")]), (Some((4, true)), false));
}
