//! The form of desired states in which equal ones are equal.

use ankaios_model::json::{StateFormat, complete_state};
use ankaios_model::proto::ank_base::CompleteState;
use serde_json::Value;

/// The desired state in the form in which equal states are equal: without what Ankaios adds to
/// each workload.
pub(super) fn normal(state: &CompleteState) -> Value {
    let desired =
        CompleteState { desired_state: state.desired_state.clone(), ..CompleteState::default() };
    let mut value = to_json(&desired);
    let workloads = value.pointer_mut("/desiredState/workloads").and_then(Value::as_object_mut);
    for workload in workloads.into_iter().flat_map(|map| map.values_mut()) {
        let Some(fields) = workload.as_object_mut() else { continue };
        if fields.get("restartPolicy").and_then(Value::as_str) == Some("NEVER") {
            fields.remove("restartPolicy");
        }
        // Ankaios trims it.
        if let Some(Value::String(config)) = fields.get_mut("runtimeConfig") {
            *config = config.trim().to_owned();
        }
    }
    value
}

fn to_json(state: &ankaios_model::proto::ank_base::CompleteState) -> Value {
    serde_json::to_value(complete_state(state, StateFormat::Ankaios)).unwrap_or_default()
}
