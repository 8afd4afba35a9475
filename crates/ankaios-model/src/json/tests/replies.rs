//! Results of updates, and events.

use super::*;

#[test]
fn an_update_has_added_and_deleted_workloads() {
    let success = UpdateStateSuccess {
        added_workloads: vec!["w.1a.agent_A".into(), "no instance".into()],
        deleted_workloads: vec!["v.2b.".into()],
    };
    assert_eq!(
        serde_json::to_value(update_state_success(&success)).unwrap(),
        json!({
            "added_workloads": [
                {"workload_name": "w", "workload_id": "1a", "agent_name": "agent_A"},
                {"workload_name": "no instance", "workload_id": "", "agent_name": ""},
            ],
            "deleted_workloads": [{"workload_name": "v", "workload_id": "2b", "agent_name": ""}],
        })
    );
}

#[test]
fn events_contain_state_and_changed_fields() {
    let response = CompleteStateResponse {
        complete_state: Some(with_configs(None)),
        altered_fields: Some(AlteredFields {
            added_fields: vec!["a".into()],
            updated_fields: vec!["u".into()],
            removed_fields: vec!["r".into()],
        }),
    };
    let complete_state = sdk(&with_configs(None));
    assert_eq!(
        serde_json::to_value(event(&response)).unwrap(),
        json!({
            "complete_state": complete_state,
            "added_fields": ["a"], "updated_fields": ["u"], "removed_fields": ["r"],
        })
    );
    assert_eq!(
        serde_json::to_value(resynced_event(&CompleteStateResponse::default())).unwrap(),
        json!({
            "complete_state": sdk(&CompleteState::default()),
            "added_fields": [], "updated_fields": [], "removed_fields": [],
            "resynced": true,
        })
    );
}

#[test]
fn formats_have_names() {
    for (name, format) in [("sdk", StateFormat::Sdk), ("ankaios", StateFormat::Ankaios)] {
        assert_eq!(serde_json::from_value::<StateFormat>(name.into()).unwrap(), format);
    }
    assert!(serde_json::from_value::<StateFormat>("SDK".into()).is_err());
    assert_eq!(StateFormat::default(), StateFormat::Sdk);
}
