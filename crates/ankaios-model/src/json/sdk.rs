//! The format of the Python SDK's `to_dict()`.
//!
//! All fields are written; absent ones are empty or zero. Only `agent`, `runtime` and
//! `runtimeConfig` of a workload are omitted when they are empty. The format contains the desired
//! state, but not the effective state.
//!
//! There is also a value where the SDK raises an exception: `UNKNOWN_<number>` for an unknown
//! enum number, `UNKNOWN` for an absent execution state, `{}` for an absent file content.

use std::borrow::Cow;

use serde::Serialize;

use super::view::{
    ConfigMapView, ContentView, DependenciesView, ListView, MapView, TextMapView,
    WorkloadStatesView,
};
use crate::proto::ank_base::access_rights_rule::AccessRightsRuleEnum;
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::{
    self, AgentDisconnected, Failed, NotScheduled, Pending, ReadWriteEnum, Removed, RestartPolicy,
    Running, Stopping, Succeeded,
};
use crate::schema::spelling;

#[derive(Serialize)]
pub(super) struct CompleteState<'a> {
    desired_state: State<'a>,
    workload_states: WorkloadStatesView<'a, ExecutionState<'a>>,
    agents: MapView<'a, ank_base::AgentAttributes, Agent<'a>>,
}

impl<'a> From<&'a ank_base::CompleteState> for CompleteState<'a> {
    fn from(state: &'a ank_base::CompleteState) -> Self {
        Some(state).into()
    }
}

impl<'a> From<Option<&'a ank_base::CompleteState>> for CompleteState<'a> {
    fn from(state: Option<&'a ank_base::CompleteState>) -> Self {
        Self {
            desired_state: state.and_then(|state| state.desired_state.as_ref()).into(),
            workload_states: state
                .and_then(|state| state.workload_states.as_ref())
                .map(|states| &states.agent_state_map)
                .into(),
            agents: state.and_then(|state| state.agents.as_ref()).map(|map| &map.agents).into(),
        }
    }
}

#[derive(Serialize)]
struct State<'a> {
    api_version: &'a str,
    workloads: MapView<'a, ank_base::Workload, Workload<'a>>,
    configs: ConfigMapView<'a>,
}

impl<'a> From<Option<&'a ank_base::State>> for State<'a> {
    fn from(state: Option<&'a ank_base::State>) -> Self {
        Self {
            api_version: state.map(|state| state.api_version.as_str()).unwrap_or_default(),
            workloads: state
                .and_then(|state| state.workloads.as_ref())
                .map(|map| &map.workloads)
                .into(),
            configs: state.and_then(|state| state.configs.as_ref()).map(|map| &map.configs).into(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Workload<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    agent: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    runtime: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    runtime_config: &'a str,
    restart_policy: Cow<'static, str>,
    dependencies: DependenciesView<'a>,
    tags: TextMapView<'a>,
    control_interface_access: Access<'a>,
    configs: TextMapView<'a>,
    files: ListView<'a, ank_base::File, File<'a>>,
}

impl<'a> From<&'a ank_base::Workload> for Workload<'a> {
    fn from(workload: &'a ank_base::Workload) -> Self {
        let access = workload.control_interface_access.as_ref();
        Self {
            agent: workload.agent(),
            runtime: workload.runtime(),
            runtime_config: workload.runtime_config(),
            restart_policy: spelling::<RestartPolicy>(workload.restart_policy.unwrap_or_default()),
            dependencies: workload.dependencies.as_ref().map(|map| &map.dependencies).into(),
            tags: workload.tags.as_ref().map(|tags| &tags.tags).into(),
            control_interface_access: Access {
                allow_rules: access.map(|access| &*access.allow_rules).unwrap_or_default().into(),
                deny_rules: access.map(|access| &*access.deny_rules).unwrap_or_default().into(),
            },
            configs: workload.configs.as_ref().map(|map| &map.configs).into(),
            files: workload.files.as_ref().map(|files| &*files.files).unwrap_or_default().into(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Access<'a> {
    allow_rules: ListView<'a, ank_base::AccessRightsRule, Rule<'a>>,
    deny_rules: ListView<'a, ank_base::AccessRightsRule, Rule<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum Rule<'a> {
    #[serde(rename = "StateRule")]
    State {
        operation: Cow<'static, str>,
        filter_mask: &'a [String],
    },
    #[serde(rename = "LogRule")]
    Log {
        workload_names: &'a [String],
    },
    Unknown,
}

impl<'a> From<&'a ank_base::AccessRightsRule> for Rule<'a> {
    fn from(rule: &'a ank_base::AccessRightsRule) -> Self {
        match &rule.access_rights_rule_enum {
            Some(AccessRightsRuleEnum::StateRule(rule)) => Self::State {
                operation: spelling::<ReadWriteEnum>(rule.operation),
                filter_mask: &rule.filter_masks,
            },
            Some(AccessRightsRuleEnum::LogRule(rule)) => {
                Self::Log { workload_names: &rule.workload_names }
            }
            None => Self::Unknown,
        }
    }
}

#[derive(Serialize)]
struct File<'a> {
    mount_point: &'a str,
    content: ContentView<'a>,
}

impl<'a> From<&'a ank_base::File> for File<'a> {
    fn from(file: &'a ank_base::File) -> Self {
        Self { mount_point: &file.mount_point, content: file.into() }
    }
}

#[derive(Serialize)]
pub(super) struct ExecutionState<'a> {
    state: &'static str,
    substate: Cow<'static, str>,
    additional_info: &'a str,
}

impl<'a> From<&'a ank_base::ExecutionState> for ExecutionState<'a> {
    fn from(execution_state: &'a ank_base::ExecutionState) -> Self {
        let (state, substate) = names(execution_state.execution_state_enum.as_ref());
        Self { state, substate, additional_info: execution_state.additional_info() }
    }
}

/// The names of the state and the substate in the protobuf schema.
pub(super) fn names(state: Option<&ExecutionStateEnum>) -> (&'static str, Cow<'static, str>) {
    use ExecutionStateEnum as E;
    let Some(state) = state else {
        return ("UNKNOWN", "UNKNOWN".into());
    };
    let (name, number, substate) = match *state {
        E::AgentDisconnected(n) => {
            ("AGENT_DISCONNECTED", n, AgentDisconnected::try_from(n).map(|s| s.as_str_name()))
        }
        E::Pending(n) => ("PENDING", n, Pending::try_from(n).map(|s| s.as_str_name())),
        E::Running(n) => ("RUNNING", n, Running::try_from(n).map(|s| s.as_str_name())),
        E::Stopping(n) => ("STOPPING", n, Stopping::try_from(n).map(|s| s.as_str_name())),
        E::Succeeded(n) => ("SUCCEEDED", n, Succeeded::try_from(n).map(|s| s.as_str_name())),
        E::Failed(n) => ("FAILED", n, Failed::try_from(n).map(|s| s.as_str_name())),
        E::NotScheduled(n) => {
            ("NOT_SCHEDULED", n, NotScheduled::try_from(n).map(|s| s.as_str_name()))
        }
        E::Removed(n) => ("REMOVED", n, Removed::try_from(n).map(|s| s.as_str_name())),
    };
    (name, substate.map_or_else(|_| format!("UNKNOWN_{number}").into(), Cow::Borrowed))
}

#[derive(Serialize)]
struct Agent<'a> {
    tags: TextMapView<'a>,
    status: Status,
}

#[derive(Serialize)]
struct Status {
    cpu_usage: u32,
    free_memory: u64,
}

impl<'a> From<&'a ank_base::AgentAttributes> for Agent<'a> {
    fn from(agent: &'a ank_base::AgentAttributes) -> Self {
        let status = agent.status.unwrap_or_default();
        Self {
            tags: agent.tags.as_ref().map(|tags| &tags.tags).into(),
            status: Status {
                cpu_usage: status.cpu_usage.unwrap_or_default().cpu_usage,
                free_memory: status.free_memory.unwrap_or_default().free_memory,
            },
        }
    }
}
