//! The JSON of replies and events.
//!
//! Views that borrow the messages of Ankaios and are written straight to the
//! output: a large state takes no memory beyond its own text. What the messages
//! hold is never dropped. A number that an enum of this version does not have is
//! spelled `UNKNOWN_<number>`.

pub mod ankaios;
mod sdk;
#[cfg(test)]
mod tests;
mod view;

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use crate::InstanceName;
use crate::proto::ank_base::{
    AlteredFields, CompleteState, CompleteStateResponse, ExecutionState, UpdateStateSuccess,
};

/// The format in which a state is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateFormat {
    /// What `CompleteState.to_dict()` of the Python SDK gives: every field is
    /// there, absent ones as empty values or zero.
    #[default]
    Sdk,
    /// What `ank get state -o json` prints: camel case, only what is set. It can
    /// be applied again.
    Ankaios,
}

/// A complete state.
pub fn complete_state(state: &CompleteState, format: StateFormat) -> impl Serialize + '_ {
    match format {
        StateFormat::Sdk => StateView::Sdk(state.into()),
        StateFormat::Ankaios => StateView::Ankaios(state.into()),
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum StateView<'a> {
    Sdk(sdk::CompleteState<'a>),
    Ankaios(ankaios::CompleteState<'a>),
}

/// The state of an instance: `{"state", "substate", "additional_info"}` with the
/// names of the protobuf enums, both `UNKNOWN` if Ankaios gave no state.
pub fn execution_state(state: &ExecutionState) -> impl Serialize + '_ {
    sdk::ExecutionState::from(state)
}

/// The names of all states that an instance can be in.
pub const STATES: [&str; 8] = [
    "AGENT_DISCONNECTED",
    "PENDING",
    "RUNNING",
    "STOPPING",
    "SUCCEEDED",
    "FAILED",
    "NOT_SCHEDULED",
    "REMOVED",
];

/// The name of the state of an instance, one of [`STATES`] or `UNKNOWN`.
pub fn state_name(state: &ExecutionState) -> &'static str {
    sdk::names(state.execution_state_enum.as_ref()).0
}

/// The names of the state and the substate of an instance, as in
/// [`execution_state`].
pub fn state_names(state: &ExecutionState) -> (&'static str, Cow<'static, str>) {
    sdk::names(state.execution_state_enum.as_ref())
}

/// All workload instances of a state, with their states.
pub fn instance_states(
    state: &CompleteState,
) -> impl Iterator<Item = (InstanceName, &ExecutionState)> {
    let agents = state.workload_states.iter().flat_map(|states| &states.agent_state_map);
    agents.flat_map(|(agent, workloads)| {
        workloads.wl_name_state_map.iter().flat_map(move |(workload, ids)| {
            ids.id_state_map.iter().map(move |(id, state)| {
                let instance = InstanceName {
                    agent_name: agent.clone(),
                    workload_name: workload.clone(),
                    workload_id: id.clone(),
                };
                (instance, state)
            })
        })
    })
}

/// What an update has changed: `{"added_workloads": [I…], "deleted_workloads": [I…]}`.
pub fn update_state_success(success: &UpdateStateSuccess) -> impl Serialize + '_ {
    Changes {
        added_workloads: InstanceNames(&success.added_workloads),
        deleted_workloads: InstanceNames(&success.deleted_workloads),
    }
}

#[derive(Serialize)]
struct Changes<'a> {
    added_workloads: InstanceNames<'a>,
    deleted_workloads: InstanceNames<'a>,
}

/// Instance names as Ankaios gives them, `<workload>.<id>.<agent>`.
struct InstanceNames<'a>(&'a [String]);

impl Serialize for InstanceNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // One that is no instance name is still the answer: it goes out as it is.
        serializer.collect_seq(self.0.iter().map(|text| {
            text.parse().unwrap_or_else(|_| InstanceName {
                agent_name: String::new(),
                workload_name: text.clone(),
                workload_id: String::new(),
            })
        }))
    }
}

/// An event: `{"complete_state", "added_fields", "updated_fields", "removed_fields"}`,
/// the state in the format [`StateFormat::Sdk`].
pub fn event(response: &CompleteStateResponse) -> impl Serialize + '_ {
    Event::new(response, false)
}

/// The event for a subscription that was made again: the state of its masks,
/// with `"resynced": true`.
pub fn resynced_event(response: &CompleteStateResponse) -> impl Serialize + '_ {
    Event::new(response, true)
}

#[derive(Serialize)]
struct Event<'a> {
    complete_state: sdk::CompleteState<'a>,
    added_fields: &'a [String],
    updated_fields: &'a [String],
    removed_fields: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resynced: bool,
}

impl<'a> Event<'a> {
    fn new(response: &'a CompleteStateResponse, resynced: bool) -> Self {
        let fields = |get: fn(&AlteredFields) -> &Vec<String>| {
            response
                .altered_fields
                .as_ref()
                .map(|altered| get(altered).as_slice())
                .unwrap_or_default()
        };
        Self {
            complete_state: response.complete_state.as_ref().into(),
            added_fields: fields(|altered| &altered.added_fields),
            updated_fields: fields(|altered| &altered.updated_fields),
            removed_fields: fields(|altered| &altered.removed_fields),
            resynced,
        }
    }
}
