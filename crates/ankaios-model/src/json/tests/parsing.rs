//! Parsing Ankaios' own format.

use super::*;

fn error(state: Value) -> String {
    parse_complete_state(&state).unwrap_err().to_string()
}

fn workload(fields: Value) -> Value {
    json!({"desiredState": {"workloads": {"w": fields}}})
}

#[test]
fn no_field_is_required() {
    let state = parse_complete_state(workload(json!({"restartPolicy": "ALWAYS"}))).unwrap();
    let state = state.desired_state.unwrap();
    assert_eq!(state.api_version, "");
    let workload = &state.workloads.unwrap().workloads["w"];
    assert_eq!(*workload, Workload { restart_policy: Some(2), ..Workload::default() });
    assert_eq!(parse_complete_state(json!({})).unwrap(), CompleteState::default());
}

#[test]
fn errors_name_the_field() {
    for (state, message) in [
        (
            workload(json!({"restartPolicy": "X"})),
            "desiredState.workloads.w.restartPolicy: unknown value \"X\", \
             use NEVER, ON_FAILURE or ALWAYS",
        ),
        (
            workload(json!({"agent": 1})),
            "desiredState.workloads.w.agent: invalid type: number `1`, expected a string",
        ),
        (
            workload(json!({"files": [{"data": "x"}]})),
            "desiredState.workloads.w.files[0]: a file needs the field mountPoint",
        ),
        (
            json!({"desiredState": {"apiVersion": "v9"}}),
            "desiredState.apiVersion: unknown version \"v9\", use v1 or v0.1",
        ),
        (
            json!({"desiredState": {"configs": {"c": {"k": true}}}}),
            "desiredState.configs.c.k: invalid type: boolean `true`, \
             expected a string, a list or a map (put numbers and booleans in quotes)",
        ),
        (
            json!({"workloadStates": {"a": {"w": {"i": {"state": "Running", "subState": "X"}}}}}),
            "workloadStates.a.w.i: unknown value \"X\", use Ok",
        ),
        (
            json!({"workloadStates": {"a": {"w": {"i": {"state": "Running"}}}}}),
            "workloadStates.a.w.i: state and subState must be set together",
        ),
    ] {
        assert_eq!(error(state), message);
    }
}

/// A state in the SDK's format must not be mistaken for an empty one.
#[test]
fn unknown_top_level_fields_are_refused() {
    assert!(error(json!({"desired_state": {}})).contains("unknown field `desired_state`"));
    assert!(error(json!({"desiredState": {"workload": {}}})).contains("unknown field `workload`"));
}

/// If a misspelled field were ignored, an update would delete the field instead of setting it.
#[test]
fn unknown_nested_fields_are_refused_with_their_path() {
    let rule = json!({"type": "StateRule", "operation": "Read", "filterMask": [], "mask": []});
    for (state, path) in [
        (workload(json!({"restartpolicy": "ALWAYS"})), "desiredState.workloads.w.restartpolicy"),
        (
            workload(json!({"controlInterfaceAccess": {"allowRule": []}})),
            "desiredState.workloads.w.controlInterfaceAccess.allowRule",
        ),
        (
            workload(json!({"controlInterfaceAccess": {"allowRules": [rule]}})),
            "desiredState.workloads.w.controlInterfaceAccess.allowRules.0.mask",
        ),
        (
            workload(json!({"files": [{"mountPoint": "/x", "data": "", "mode": "0644"}]})),
            "desiredState.workloads.w.files.0.mode",
        ),
        (json!({"agents": {"a": {"tag": {"k": "v"}}}}), "agents.a.tag"),
    ] {
        assert_eq!(error(state), format!("{path}: there is no such field"));
    }
}

#[test]
fn wrong_types_are_refused() {
    for state in
        [json!(null), json!([]), json!("x"), json!({"desiredState": []}), json!({"agents": 1})]
    {
        parse_complete_state(&state).unwrap_err();
    }
}
