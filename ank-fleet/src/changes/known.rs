//! The state of a vehicle.

use std::collections::BTreeMap;

use ankaios_model::json::ankaios::{StateError, parse_complete_state};
use ankaios_model::json::{instance_states, state_names};
use ankaios_model::proto::ank_base::CompleteState;
use fleet_contract::revision::HistoryReply;
use serde_json::Value;

use super::{WantedChange, to_json};
use crate::rollout::{
    OwnRevision, RequestId, RequestKind, RolloutId, Settled, VehicleState, describe, has_failed,
};

/// The desired state and the workload states of a vehicle.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The desired state in its normal form, in an object `{"desiredState": …}`.
    state: Value,
    /// The workload, and its state, substate and details.
    instances: Vec<(String, String, String, String)>,
}

/// The error for a reply that is not a state in Ankaios' own format.
#[derive(Debug, thiserror::Error)]
pub enum InvalidState {
    /// It is not JSON.
    #[error("the state is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It is not a state.
    #[error("the state cannot be read: {0}")]
    NotAState(#[from] StateError),
}

impl Known {
    /// Parses the reply to `state` with the format `ankaios` and the field masks `desiredState`
    /// and `workloadStates`.
    ///
    /// # Errors
    /// It is not a state.
    pub fn parse(reply: &[u8]) -> Result<Self, InvalidState> {
        let value: Value = serde_json::from_slice(reply)?;
        let state = parse_complete_state(&value)?;
        let instances = instance_states(&state).map(|(instance, state)| {
            let (name, substate) = state_names(state);
            let info = state.additional_info().to_owned();
            (instance.workload_name, name.to_owned(), substate.into_owned(), info)
        });
        Ok(Self { instances: instances.collect(), state: normal(&state) })
    }

    pub(super) fn state(&self) -> &Value {
        &self.state
    }

    /// The states of the workloads that the change concerns.
    fn settled(&self, wanted: &WantedChange) -> Settled {
        let mut states: BTreeMap<&str, Option<Settled>> =
            wanted.workloads().map(|name| (name, None)).collect();
        let mut is_starting = false;
        for (workload, state, substate, info) in &self.instances {
            if !wanted.concerns(workload) {
                continue;
            }
            if has_failed(state, substate) {
                let message = describe(state, substate, info);
                return Settled::Failed { workload: workload.clone(), message };
            }
            let is_up = matches!(state.as_str(), "RUNNING" | "SUCCEEDED");
            match states.get_mut(workload.as_str()) {
                Some(known) if is_up => *known = Some(Settled::Up),
                // Also one that is being deleted.
                _ => is_starting = true,
            }
        }
        let are_up = states.values().all(|state| state == &Some(Settled::Up));
        // If nothing is to run, what is still being stopped does not matter.
        if are_up && (!is_starting || states.is_empty()) { Settled::Up } else { Settled::Starting }
    }
}

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

/// What a roll-out has to know of a vehicle. `history` is the reply to `manifest/history`, if the
/// vehicle keeps revisions.
#[must_use]
pub fn vehicle_state(
    known: &Known,
    history: Option<&HistoryReply>,
    wanted: &WantedChange,
    rollout: &RolloutId,
) -> VehicleState {
    let revisions = || history.into_iter().flat_map(|history| &history.revisions);
    let newest = |kind| {
        let beginning = RequestId::beginning(rollout, kind);
        revisions()
            .filter(|revision| revision.request_id.starts_with(&beginning))
            .max_by_key(|revision| revision.revision)
    };
    let own = newest(RequestKind::Change);
    let undo = newest(RequestKind::Undo);
    VehicleState {
        is_applied: wanted.diff(known).is_empty(),
        workloads: known.settled(wanted),
        own: own.map(|own| OwnRevision {
            revision: own.revision,
            status: own.status,
            is_current: history.is_some_and(|history| history.current == own.revision),
        }),
        is_undone: undo.is_some_and(|undo| own.is_none_or(|own| undo.revision > own.revision)),
    }
}
