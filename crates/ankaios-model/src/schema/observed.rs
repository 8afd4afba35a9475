//! What Ankaios reports: execution states and agents, and the complete state
//! that holds them beside the desired state.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use std::fmt;

use super::map::{Map, into_values};
use super::spelling::{OneOf, Spelled};
use super::state::State;
use super::text::{FromText, Text};
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::{
    self, AgentDisconnected, Failed, NotScheduled, Pending, Removed, Running, Stopping, Succeeded,
};

/// The complete state or a part of it.
///
/// Unknown fields are refused here and in the desired state, with a list of those
/// that are known: a state in another format must not be taken for an empty one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a complete state")]
pub(crate) struct CompleteState {
    desired_state: Option<State>,
    workload_states: Option<Map<Map<Map<ExecutionState>>>>,
    agents: Option<Map<Agent>>,
    effective_state: Option<State>,
}

impl From<CompleteState> for ank_base::CompleteState {
    fn from(state: CompleteState) -> Self {
        Self {
            desired_state: state.desired_state.map(Into::into),
            workload_states: state.workload_states.map(|Map(agents)| ank_base::WorkloadStatesMap {
                agent_state_map: into_values(agents),
            }),
            agents: state
                .agents
                .map(|Map(agents)| ank_base::AgentMap { agents: into_values(agents) }),
            effective_state: state.effective_state.map(Into::into),
        }
    }
}

impl From<Map<Map<ExecutionState>>> for ank_base::ExecutionsStatesOfWorkload {
    fn from(Map(workloads): Map<Map<ExecutionState>>) -> Self {
        Self { wl_name_state_map: into_values(workloads) }
    }
}

impl From<Map<ExecutionState>> for ank_base::ExecutionsStatesForId {
    fn from(Map(instances): Map<ExecutionState>) -> Self {
        Self { id_state_map: into_values(instances) }
    }
}

/// The state of one instance of a workload.
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
            _ => return Err(A::Error::custom("state and subState go together")),
        };
        Ok(ExecutionState { additional_info: fields.additional_info, state })
    }
}

fn execution_state(state: &str, substate: String) -> Result<ExecutionStateEnum, String> {
    fn number<E: Spelled>(substate: String) -> Result<i32, String> {
        OneOf::<E>::from_text(substate).map(Into::into)
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

/// An agent: its status and the tags it was started with, which are not bound to
/// the rules of names.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an agent")]
struct Agent {
    status: Option<AgentStatus>,
    tags: Option<Map<Text>>,
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
            tags: agent.tags.map(|Map(tags)| ank_base::Tags { tags: into_values(tags) }),
        }
    }
}
