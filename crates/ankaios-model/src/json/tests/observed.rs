//! Execution states and agents.

use super::*;

/// All states, with the names of state and substate in the SDK and in Ankaios' own format.
fn all_states() -> Vec<(ExecutionStateEnum, [&'static str; 2], [&'static str; 2])> {
    use ExecutionStateEnum as E;
    vec![
        (
            E::AgentDisconnected(0),
            ["AGENT_DISCONNECTED", "AGENT_DISCONNECTED"],
            ["AgentDisconnected", "AgentDisconnected"],
        ),
        (E::Pending(0), ["PENDING", "PENDING_INITIAL"], ["Pending", "Initial"]),
        (E::Pending(1), ["PENDING", "PENDING_WAITING_TO_START"], ["Pending", "WaitingToStart"]),
        (E::Pending(2), ["PENDING", "PENDING_STARTING"], ["Pending", "Starting"]),
        (E::Pending(8), ["PENDING", "PENDING_STARTING_FAILED"], ["Pending", "StartingFailed"]),
        (E::Running(0), ["RUNNING", "RUNNING_OK"], ["Running", "Ok"]),
        (E::Stopping(0), ["STOPPING", "STOPPING"], ["Stopping", "Stopping"]),
        (E::Stopping(1), ["STOPPING", "STOPPING_WAITING_TO_STOP"], ["Stopping", "WaitingToStop"]),
        (
            E::Stopping(2),
            ["STOPPING", "STOPPING_REQUESTED_AT_RUNTIME"],
            ["Stopping", "RequestedAtRuntime"],
        ),
        (E::Stopping(8), ["STOPPING", "STOPPING_DELETE_FAILED"], ["Stopping", "DeleteFailed"]),
        (E::Succeeded(0), ["SUCCEEDED", "SUCCEEDED_OK"], ["Succeeded", "Ok"]),
        (E::Failed(0), ["FAILED", "FAILED_EXEC_FAILED"], ["Failed", "ExecFailed"]),
        (E::Failed(1), ["FAILED", "FAILED_UNKNOWN"], ["Failed", "Unknown"]),
        (E::Failed(2), ["FAILED", "FAILED_LOST"], ["Failed", "Lost"]),
        (E::NotScheduled(0), ["NOT_SCHEDULED", "NOT_SCHEDULED"], ["NotScheduled", "NotScheduled"]),
        (E::Removed(0), ["REMOVED", "REMOVED"], ["Removed", "Removed"]),
    ]
}

#[test]
fn every_execution_state_has_its_names() {
    for (number, [state, substate], [own_state, own_substate]) in all_states() {
        let message = ExecutionState {
            additional_info: Some("info".into()),
            execution_state_enum: Some(number),
        };
        let expected = json!({"state": state, "substate": substate, "additional_info": "info"});
        assert_eq!(serde_json::to_value(execution_state(&message)).unwrap(), expected);

        let complete = with_execution_state(message);
        assert_eq!(sdk(&complete)["workload_states"]["a"]["w"]["i"], expected);
        let own = ankaios(&complete);
        let expected =
            json!({"state": own_state, "subState": own_substate, "additionalInfo": "info"});
        assert_eq!(own, json!({"workloadStates": {"a": {"w": {"i": expected}}}}));
        assert_eq!(parse_complete_state(&own).unwrap(), complete);
    }
}

#[test]
fn unknown_and_absent_execution_states_are_not_dropped() {
    let unknown = ExecutionState {
        additional_info: None,
        execution_state_enum: Some(ExecutionStateEnum::Pending(77)),
    };
    assert_eq!(
        serde_json::to_value(execution_state(&unknown)).unwrap(),
        json!({"state": "PENDING", "substate": "UNKNOWN_77", "additional_info": ""})
    );
    assert_eq!(
        ankaios(&with_execution_state(unknown))["workloadStates"]["a"]["w"]["i"],
        json!({"state": "Pending", "subState": "UNKNOWN_77"})
    );
    let absent = ExecutionState::default();
    assert_eq!(
        serde_json::to_value(execution_state(&absent)).unwrap(),
        json!({"state": "UNKNOWN", "substate": "UNKNOWN", "additional_info": ""})
    );
    let complete = with_execution_state(absent);
    assert_eq!(ankaios(&complete)["workloadStates"]["a"]["w"]["i"], json!({}));
    assert_eq!(parse_complete_state(ankaios(&complete)).unwrap(), complete);
}

#[test]
fn absent_messages_are_empty_or_omitted() {
    let nothing = CompleteState::default();
    let empty = json!({
        "desired_state": {"api_version": "", "workloads": {}, "configs": {}},
        "workload_states": {},
        "agents": {},
    });
    assert_eq!(sdk(&nothing), empty);
    assert_eq!(ankaios(&nothing), json!({}));

    let all_empty = CompleteState {
        desired_state: Some(State {
            api_version: String::new(),
            workloads: Some(WorkloadMap::default()),
            configs: Some(ConfigMap::default()),
        }),
        workload_states: Some(WorkloadStatesMap::default()),
        agents: Some(AgentMap::default()),
        effective_state: Some(State::default()),
    };
    assert_eq!(sdk(&all_empty), empty);
    assert_eq!(
        ankaios(&all_empty),
        json!({
            "desiredState": {"apiVersion": "", "workloads": {}},
            "workloadStates": {},
            "agents": {},
            "effectiveState": {"apiVersion": ""},
        })
    );
}

#[test]
fn agents_have_status_and_tags() {
    let agent = AgentAttributes {
        status: Some(AgentStatus {
            cpu_usage: Some(CpuUsage { cpu_usage: u32::MAX }),
            free_memory: Some(FreeMemory { free_memory: u64::MAX }),
        }),
        tags: Some(Tags { tags: [("any key".to_owned(), "v".to_owned())].into() }),
    };
    let agents = [("a".to_owned(), agent), ("b".to_owned(), AgentAttributes::default())].into();
    let complete = CompleteState { agents: Some(AgentMap { agents }), ..CompleteState::default() };
    let text = serde_json::to_string(&complete_state(&complete, StateFormat::Sdk)).unwrap();
    assert!(text.contains("\"free_memory\":18446744073709551615"), "{text}");
    assert_eq!(
        sdk(&complete)["agents"],
        json!({
            "a": {"status": {"cpu_usage": u32::MAX, "free_memory": u64::MAX}, "tags": {"any key": "v"}},
            "b": {"status": {"cpu_usage": 0, "free_memory": 0}, "tags": {}},
        })
    );
    assert_eq!(
        ankaios(&complete)["agents"],
        json!({
            "a": {"status": {"cpuUsage": u32::MAX, "freeMemory": u64::MAX}, "tags": {"any key": "v"}},
            "b": {},
        })
    );
    assert_eq!(parse_complete_state(ankaios(&complete)).unwrap(), complete);
}
