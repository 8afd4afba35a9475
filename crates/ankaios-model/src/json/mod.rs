//! The state as JSON.
//!
//! The functions return views: types that borrow a message and implement [`Serialize`]. They
//! write directly to the output, so a large state needs no memory in addition to its text. An
//! enum number that this version of the schema does not know is written as `UNKNOWN_<number>`.
//!
//! [`ankaios::parse_complete_state`] reads a state in Ankaios' own format.

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

/// The format of a state in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateFormat {
    /// The format of `CompleteState.to_dict()` in the Python SDK: all fields, absent ones as
    /// empty values or zero.
    #[default]
    Sdk,
    /// The format of `ank get state -o json`: camel case, only fields that are set. Such a state
    /// can be applied again.
    Ankaios,
}

/// A complete state in one of the formats.
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

/// The names of all states of a workload instance.
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

/// The name of the state of an instance: one of [`STATES`], or `UNKNOWN` if the state is absent.
pub fn state_name(state: &ExecutionState) -> &'static str {
    sdk::names(state.execution_state_enum.as_ref()).0
}

/// The names of the state and the substate of an instance in the protobuf schema, such as
/// `RUNNING` and `RUNNING_OK`. Both are `UNKNOWN` if the state is absent.
pub fn state_names(state: &ExecutionState) -> (&'static str, Cow<'static, str>) {
    sdk::names(state.execution_state_enum.as_ref())
}

/// All workload instances of a complete state, with their execution states.
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

/// The result of an update: `{"added_workloads": […], "deleted_workloads": […]}`, with each
/// [`InstanceName`] as an object.
pub fn update_state_success(success: &UpdateStateSuccess) -> impl Serialize + '_ {
    ChangedWorkloads {
        added_workloads: InstanceNames(&success.added_workloads),
        deleted_workloads: InstanceNames(&success.deleted_workloads),
    }
}

#[derive(Serialize)]
struct ChangedWorkloads<'a> {
    added_workloads: InstanceNames<'a>,
    deleted_workloads: InstanceNames<'a>,
}

/// Instance names in text form, written as objects.
struct InstanceNames<'a>(&'a [String]);

impl Serialize for InstanceNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Text that cannot be parsed is not dropped: it is written as the workload name.
        serializer.collect_seq(self.0.iter().map(|text| {
            text.parse().unwrap_or_else(|_| InstanceName {
                agent_name: String::new(),
                workload_name: text.clone(),
                workload_id: String::new(),
            })
        }))
    }
}

/// An event: `{"complete_state", "added_fields", "updated_fields", "removed_fields"}`. The state
/// has the format [`StateFormat::Sdk`].
pub fn event(response: &CompleteStateResponse) -> impl Serialize + '_ {
    EventView::new(response, false)
}

/// The event after a subscription was made again: the whole state of its field masks, with
/// `"resynced": true`.
pub fn resynced_event(response: &CompleteStateResponse) -> impl Serialize + '_ {
    EventView::new(response, true)
}

#[derive(Serialize)]
struct EventView<'a> {
    complete_state: sdk::CompleteState<'a>,
    added_fields: &'a [String],
    updated_fields: &'a [String],
    removed_fields: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resynced: bool,
}

impl<'a> EventView<'a> {
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
