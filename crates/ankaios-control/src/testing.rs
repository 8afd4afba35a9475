//! States and events for tests, behind the feature `testing`.

use std::collections::BTreeMap;

use ankaios_model::proto::ank_base::execution_state::ExecutionStateEnum as E;
use ankaios_model::proto::ank_base::{
    AlteredFields, CompleteState, CompleteStateResponse, ExecutionState, ExecutionsStatesForId,
    ExecutionsStatesOfWorkload, WorkloadStatesMap,
};

use crate::events::Event;

/// `Running(Ok)`.
pub const RUNNING: Option<E> = Some(E::Running(0));
/// `Failed(ExecFailed)`.
pub const FAILED: Option<E> = Some(E::Failed(0));

/// A complete state with these instances (agent, workload, id), all in the same execution state.
#[must_use]
pub fn state(
    instances: &[(&str, &str, &str)],
    state: Option<E>,
    info: Option<&str>,
) -> CompleteState {
    let mut agents = BTreeMap::<_, ExecutionsStatesOfWorkload>::new();
    for (agent, workload, id) in instances {
        let ids: &mut ExecutionsStatesForId = agents
            .entry((*agent).to_owned())
            .or_default()
            .wl_name_state_map
            .entry((*workload).to_owned())
            .or_default();
        let additional_info = info.map(str::to_owned);
        let state = ExecutionState { additional_info, execution_state_enum: state };
        ids.id_state_map.insert((*id).to_owned(), state);
    }
    let workload_states = Some(WorkloadStatesMap { agent_state_map: agents });
    CompleteState { workload_states, ..CompleteState::default() }
}

/// An event with these changed parts of the state, and the paths of removed fields.
#[must_use]
pub fn event(state: CompleteState, removed: &[&str]) -> Event {
    let altered_fields = Some(AlteredFields {
        removed_fields: removed.iter().map(ToString::to_string).collect(),
        ..AlteredFields::default()
    });
    let complete_state = Some(state);
    Event { response: CompleteStateResponse { complete_state, altered_fields }, resynced: false }
}

/// The event that follows a gap, with the whole state.
#[must_use]
pub fn snapshot(state: CompleteState) -> Event {
    let complete_state = Some(state);
    let response = CompleteStateResponse { complete_state, altered_fields: None };
    Event { response, resynced: true }
}
