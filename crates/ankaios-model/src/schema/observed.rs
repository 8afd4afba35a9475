//! The state that Ankaios reports: execution states, agents, and the complete state, which
//! contains them and the desired state.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

use super::map::{TextMap, into_values};
use super::spelling::{EnumValue, SpelledEnum};
use super::state::State;
use super::text::{FromText, Text};
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::{
    self, AgentDisconnected, Failed, NotScheduled, Pending, Removed, Running, Stopping, Succeeded,
};

/// The complete state or a part of it.
///
/// Here and in the desired state, unknown fields are errors that list the known fields: a state
/// in another format must not be mistaken for an empty one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a complete state")]
pub(crate) struct CompleteState {
    desired_state: Option<State>,
    workload_states: Option<TextMap<TextMap<TextMap<ExecutionState>>>>,
    agents: Option<TextMap<Agent>>,
    effective_state: Option<State>,
}

impl From<CompleteState> for ank_base::CompleteState {
    fn from(state: CompleteState) -> Self {
        Self {
            desired_state: state.desired_state.map(Into::into),
            workload_states: state.workload_states.map(|TextMap(agents)| {
                ank_base::WorkloadStatesMap { agent_state_map: into_values(agents) }
            }),
            agents: state
                .agents
                .map(|TextMap(agents)| ank_base::AgentMap { agents: into_values(agents) }),
            effective_state: state.effective_state.map(Into::into),
        }
    }
}

impl From<TextMap<TextMap<ExecutionState>>> for ank_base::ExecutionsStatesOfWorkload {
    fn from(TextMap(workloads): TextMap<TextMap<ExecutionState>>) -> Self {
        Self { wl_name_state_map: into_values(workloads) }
    }
}

impl From<TextMap<ExecutionState>> for ank_base::ExecutionsStatesForId {
    fn from(TextMap(instances): TextMap<ExecutionState>) -> Self {
        Self { id_state_map: into_values(instances) }
    }
}

/// The state of a workload instance.
#[derive(Debug)]
struct ExecutionState {
    additional_info: Option<Text>,
    state: Option<ExecutionStateEnum>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionStateFields {
    additional_info: Option<Text>,
    state: Option<Text>,
    sub_state: Option<Text>,
}

impl<'de> Deserialize<'de> for ExecutionState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ExecutionStateVisitor)
    }
}

struct ExecutionStateVisitor;

impl<'de> Visitor<'de> for ExecutionStateVisitor {
    type Value = ExecutionState;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an execution state")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<ExecutionState, A::Error> {
        let fields = ExecutionStateFields::deserialize(MapAccessDeserializer::new(access))?;
        let state = match (fields.state, fields.sub_state) {
            (None, None) => None,
            (Some(Text(state)), Some(Text(substate))) => {
                Some(execution_state(&state, substate).map_err(A::Error::custom)?)
            }
            _ => return Err(A::Error::custom("state and subState must be set together")),
        };
        Ok(ExecutionState { additional_info: fields.additional_info, state })
    }
}

fn execution_state(state: &str, substate: String) -> Result<ExecutionStateEnum, String> {
    fn number<E: SpelledEnum>(substate: String) -> Result<i32, String> {
        EnumValue::<E>::from_text(substate).map(Into::into)
    }
    Ok(match state {
        "AgentDisconnected" => {
            ExecutionStateEnum::AgentDisconnected(number::<AgentDisconnected>(substate)?)
        }
        "Pending" => ExecutionStateEnum::Pending(number::<Pending>(substate)?),
        "Running" => ExecutionStateEnum::Running(number::<Running>(substate)?),
        "Stopping" => ExecutionStateEnum::Stopping(number::<Stopping>(substate)?),
        "Succeeded" => ExecutionStateEnum::Succeeded(number::<Succeeded>(substate)?),
        "Failed" => ExecutionStateEnum::Failed(number::<Failed>(substate)?),
        "NotScheduled" => ExecutionStateEnum::NotScheduled(number::<NotScheduled>(substate)?),
        "Removed" => ExecutionStateEnum::Removed(number::<Removed>(substate)?),
        _ => return Err(format!("unknown state {state:?}")),
    })
}

impl From<ExecutionState> for ank_base::ExecutionState {
    fn from(state: ExecutionState) -> Self {
        Self {
            additional_info: state.additional_info.map(Into::into),
            execution_state_enum: state.state,
        }
    }
}

/// An agent: its status, and the tags that it was started with. Their keys need not be valid
/// names.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an agent")]
struct Agent {
    status: Option<AgentStatus>,
    tags: Option<TextMap<Text>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the status of an agent")]
struct AgentStatus {
    cpu_usage: Option<u32>,
    free_memory: Option<u64>,
}

impl From<Agent> for ank_base::AgentAttributes {
    fn from(agent: Agent) -> Self {
        Self {
            status: agent.status.map(|status| ank_base::AgentStatus {
                cpu_usage: status.cpu_usage.map(|cpu_usage| ank_base::CpuUsage { cpu_usage }),
                free_memory: status
                    .free_memory
                    .map(|free_memory| ank_base::FreeMemory { free_memory }),
            }),
            tags: agent.tags.map(|TextMap(tags)| ank_base::Tags { tags: into_values(tags) }),
        }
    }
}
