//! Ankaios' own format: what `ank get state -o json` prints and `ank set state` accepts.
//!
//! Only fields that are set are written, and of a workload and an agent no empty maps and lists.
//! An absent execution state or file content is omitted; an absent config item is `null`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserializer, Serialize};

use super::view::{
    ConfigMapView, ContentView, DependenciesView, ListView, MapView, TextMapView,
    WorkloadStatesView,
};
use crate::hints::{in_json_terms, without_text};
use crate::proto::ank_base::access_rights_rule::AccessRightsRuleEnum;
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::{
    self, AgentDisconnected, Failed, NotScheduled, Pending, ReadWriteEnum, Removed, RestartPolicy,
    Running, Stopping, Succeeded,
};
use crate::schema::{self, spelling};

/// The error for a state that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", Prefix(path))]
pub struct StateError {
    /// The path of the field, such as `desiredState.workloads.nginx.agent`. Empty for the state
    /// as a whole.
    pub path: String,
    /// What is wrong with the field, and how to correct it.
    pub message: String,
}

/// Writes a path and a colon, or nothing for an empty path.
struct Prefix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// The path as far as it is known: `serde_path_to_error` writes `?` for an unknown part, and a
/// dot for the state as a whole.
fn known(path: &str) -> &str {
    match path.trim_end_matches(".?") {
        "." | "?" => "",
        path => path,
    }
}

/// Deserializes a complete state or a part of it, with the checks of a manifest. No field is
/// required, because field masks can select any part.
///
/// # Errors
/// A check fails, or a field is unknown. Unknown fields are not ignored: if the name of a field
/// were misspelled, an update would delete the field instead of setting it.
pub fn parse_complete_state<'de, D>(state: D) -> Result<ank_base::CompleteState, StateError>
where
    D: Deserializer<'de>,
{
    let mut unknown = None;
    let mut ignored = |path: serde_ignored::Path<'_>| {
        unknown.get_or_insert_with(|| path.to_string());
    };
    let state = serde_ignored::Deserializer::new(state, &mut ignored);
    let state: schema::CompleteState =
        serde_path_to_error::deserialize(state).map_err(|error| StateError {
            path: known(&error.path().to_string()).to_owned(),
            message: in_json_terms(&without_text(&error.into_inner().to_string())),
        })?;
    match unknown {
        None => Ok(state.into()),
        // `serde_ignored` writes `?` for an `Option` on the path.
        Some(path) => Err(StateError {
            path: path.replace(".?", ""),
            message: "there is no such field".into(),
        }),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CompleteState<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    desired_state: Option<State<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_states: Option<WorkloadStatesView<'a, ExecutionState<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agents: Option<MapView<'a, ank_base::AgentAttributes, Agent<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_state: Option<State<'a>>,
}

impl<'a> From<&'a ank_base::CompleteState> for CompleteState<'a> {
    fn from(state: &'a ank_base::CompleteState) -> Self {
        Self {
            desired_state: state.desired_state.as_ref().map(Into::into),
            workload_states: state
                .workload_states
                .as_ref()
                .map(|states| (&states.agent_state_map).into()),
            agents: state.agents.as_ref().map(|agents| (&agents.agents).into()),
            effective_state: state.effective_state.as_ref().map(Into::into),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    api_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workloads: Option<MapView<'a, ank_base::Workload, Workload<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configs: Option<ConfigMapView<'a>>,
}

impl<'a> From<&'a ank_base::State> for State<'a> {
    fn from(state: &'a ank_base::State) -> Self {
        Self {
            api_version: &state.api_version,
            workloads: state.workloads.as_ref().map(|map| (&map.workloads).into()),
            configs: not_empty(state.configs.as_ref().map(|map| &map.configs)),
        }
    }
}

/// `None` for an empty map.
fn not_empty<'a, V, View>(map: Option<&'a BTreeMap<String, V>>) -> Option<MapView<'a, V, View>> {
    map.filter(|map| !map.is_empty()).map(Into::into)
}

/// `None` for an empty list.
fn not_empty_list<V, View>(items: Option<&[V]>) -> Option<ListView<'_, V, View>> {
    items.filter(|items| !items.is_empty()).map(Into::into)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Workload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_policy: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependencies: Option<DependenciesView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<TextMapView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_config: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control_interface_access: Option<Access<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configs: Option<TextMapView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<ListView<'a, ank_base::File, File<'a>>>,
}

impl<'a> From<&'a ank_base::Workload> for Workload<'a> {
    fn from(workload: &'a ank_base::Workload) -> Self {
        let access = workload.control_interface_access.as_ref().map(|access| Access {
            allow_rules: not_empty_list(Some(&access.allow_rules)),
            deny_rules: not_empty_list(Some(&access.deny_rules)),
        });
        Self {
            agent: workload.agent.as_deref(),
            restart_policy: workload.restart_policy.map(spelling::<RestartPolicy>),
            dependencies: not_empty(workload.dependencies.as_ref().map(|map| &map.dependencies)),
            tags: not_empty(workload.tags.as_ref().map(|tags| &tags.tags)),
            runtime: workload.runtime.as_deref(),
            runtime_config: workload.runtime_config.as_deref(),
            control_interface_access: access
                .filter(|access| access.allow_rules.is_some() || access.deny_rules.is_some()),
            configs: not_empty(workload.configs.as_ref().map(|map| &map.configs)),
            files: not_empty_list(workload.files.as_ref().map(|files| files.files.as_slice())),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Access<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_rules: Option<ListView<'a, ank_base::AccessRightsRule, Rule<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny_rules: Option<ListView<'a, ank_base::AccessRightsRule, Rule<'a>>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum Rule<'a> {
    #[serde(rename = "StateRule")]
    State { operation: Cow<'static, str>, filter_masks: &'a [String] },
    #[serde(rename = "LogRule")]
    Log { workload_names: &'a [String] },
    #[serde(untagged)]
    Absent {},
}

impl<'a> From<&'a ank_base::AccessRightsRule> for Rule<'a> {
    fn from(rule: &'a ank_base::AccessRightsRule) -> Self {
        match &rule.access_rights_rule_enum {
            Some(AccessRightsRuleEnum::StateRule(rule)) => Self::State {
                operation: spelling::<ReadWriteEnum>(rule.operation),
                filter_masks: &rule.filter_masks,
            },
            Some(AccessRightsRuleEnum::LogRule(rule)) => {
                Self::Log { workload_names: &rule.workload_names }
            }
            None => Self::Absent {},
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    mount_point: &'a str,
    #[serde(flatten)]
    content: ContentView<'a>,
}

impl<'a> From<&'a ank_base::File> for File<'a> {
    fn from(file: &'a ank_base::File) -> Self {
        Self { mount_point: &file.mount_point, content: file.into() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionState<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_info: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_state: Option<Cow<'static, str>>,
}

impl<'a> From<&'a ank_base::ExecutionState> for ExecutionState<'a> {
    fn from(execution_state: &'a ank_base::ExecutionState) -> Self {
        let (state, sub_state) = execution_state.execution_state_enum.as_ref().map(names).unzip();
        Self { additional_info: execution_state.additional_info.as_deref(), state, sub_state }
    }
}

/// The names of the state and the substate.
fn names(state: &ExecutionStateEnum) -> (&'static str, Cow<'static, str>) {
    use ExecutionStateEnum as E;
    match *state {
        E::AgentDisconnected(n) => ("AgentDisconnected", spelling::<AgentDisconnected>(n)),
        E::Pending(n) => ("Pending", spelling::<Pending>(n)),
        E::Running(n) => ("Running", spelling::<Running>(n)),
        E::Stopping(n) => ("Stopping", spelling::<Stopping>(n)),
        E::Succeeded(n) => ("Succeeded", spelling::<Succeeded>(n)),
        E::Failed(n) => ("Failed", spelling::<Failed>(n)),
        E::NotScheduled(n) => ("NotScheduled", spelling::<NotScheduled>(n)),
        E::Removed(n) => ("Removed", spelling::<Removed>(n)),
    }
}

#[derive(Serialize)]
struct Agent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<TextMapView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_usage: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free_memory: Option<u64>,
}

impl<'a> From<&'a ank_base::AgentAttributes> for Agent<'a> {
    fn from(agent: &'a ank_base::AgentAttributes) -> Self {
        Self {
            status: agent.status.map(|status| Status {
                cpu_usage: status.cpu_usage.map(|cpu| cpu.cpu_usage),
                free_memory: status.free_memory.map(|memory| memory.free_memory),
            }),
            tags: not_empty(agent.tags.as_ref().map(|tags| &tags.tags)),
        }
    }
}
