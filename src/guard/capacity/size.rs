//! Sizes of states and messages, and the limits for them.

use ankaios_model::update_mask::get;
use fleet_contract::error::ErrorCode;
use serde_json::Value;

use crate::guard::refusal::Refusal;

/// The largest message between agent and server, in bytes.
pub(in crate::guard) const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Room for what grows without an update, in bytes.
const MARGIN: usize = 256 * 1024;

/// Maximum size of a message after an update, in bytes.
pub(in crate::guard) const MAX_SIZE: usize = MAX_MESSAGE - MARGIN;

/// Size of a workload's execution state without its text and the names, in bytes.
pub(in crate::guard) const EXECUTION_STATE: usize = 600;

/// The name of the rule in replies.
const RULE: &str = "capacity";

/// The refusal of an update that exceeds a limit.
pub(super) fn refusal(message: String) -> Refusal {
    Refusal {
        code: ErrorCode::PayloadTooLarge,
        rule: RULE,
        field: "desiredState".into(),
        workload: None,
        message,
    }
}

/// The workloads of a state.
pub(super) fn workloads(state: &Value) -> impl Iterator<Item = (&String, &Value)> {
    get(state, &["desiredState", "workloads"]).and_then(Value::as_object).into_iter().flatten()
}

/// Size of a value in a message, in bytes. The names of fields are not sent, so this is a little
/// too much.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + 6 + size(value)).sum()
        }
        Value::Array(items) => items.iter().map(|item| 4 + size(item)).sum(),
        Value::String(text) => text.len() + 4,
        Value::Number(_) => 10,
        Value::Null | Value::Bool(_) => 2,
    }
}
