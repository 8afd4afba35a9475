//! The state of a vehicle.

use ankaios_model::json::ankaios::{StateError, parse_complete_state};
use ankaios_model::json::{instance_states, state_names};
use serde_json::Value;

use super::normal::normal;

/// The desired state and the workload states of a vehicle.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The desired state in its normal form, in an object `{"desiredState": …}`.
    state: Value,
    instances: Vec<Instance>,
}

/// The workload of an instance, and its state, substate and details.
pub(super) type Instance = (String, String, String, String);

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

    pub(super) fn instances(&self) -> &[Instance] {
        &self.instances
    }

    pub(super) fn state(&self) -> &Value {
        &self.state
    }
}
