//! What a change would do to a vehicle, and what a vehicle has of it.
//!
//! ```text
//!  manifest or update ─► WantedChange ─┐
//!  state of a vehicle ─► Known ────────┴─► diff: nothing, or what changes ─► group: equal answers
//!  history ────────────────────────────┴─► vehicle_state: for the roll-out
//! ```

mod diff;
mod group;
mod known;

use ankaios_model::json::{StateFormat, complete_state};
use ankaios_model::manifest::{Manifest, ManifestError};
use ankaios_model::proto::ank_base::UpdateStateRequest;
use ankaios_model::update_mask::merge;
use fleet_contract::error::ErrorReply;
use fleet_contract::requests::StateUpdateRequest;
use serde_json::Value;

pub use diff::{FieldChange, ItemChange, ItemDiff, diff_items};
pub use group::{ChangeGroup, group};
pub use known::{InvalidState, Known, vehicle_state};

use crate::rollout::Change;

/// A change, as the update that it makes.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedChange {
    new: Value,
    masks: Vec<String>,
}

/// Why a payload is not a change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It is not a manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It is not the payload of `state/update`.
    #[error(transparent)]
    Update(#[from] ErrorReply),
}

impl WantedChange {
    /// Parses the payload of the operation that makes the change. Of a signed bundle, that is the
    /// payload inside.
    ///
    /// # Errors
    /// The vehicle would refuse it.
    pub fn parse(operation: Change, payload: &[u8]) -> Result<Self, ChangeError> {
        Ok(Self::new(match operation {
            Change::Apply => Manifest::parse(payload)?.into_apply_request(),
            Change::Delete => Manifest::parse(payload)?.into_delete_request(),
            Change::Update => StateUpdateRequest::parse(payload)?,
        }))
    }

    fn new(request: UpdateStateRequest) -> Self {
        let new = request.new_state.unwrap_or_default();
        Self { new: known::normal(&new), masks: request.update_mask }
    }

    /// What changes on a vehicle with this state; empty if it has the change already.
    #[must_use]
    pub fn diff(&self, known: &Known) -> Vec<ItemDiff> {
        let before = known.state();
        let mut after = before.clone();
        for mask in &self.masks {
            // Ankaios refuses such an update; the vehicle says so.
            let _ = merge(&mut after, &self.new, mask);
        }
        diff_items(before, &after)
    }

    /// Whether the change concerns a workload.
    fn concerns(&self, workload: &str) -> bool {
        let path = ["desiredState", "workloads", workload];
        self.masks.iter().any(|mask| ankaios_model::update_mask::touches(mask, &path))
    }

    /// The names of the workloads that there are after the change, and that it concerns.
    fn workloads(&self) -> impl Iterator<Item = &str> {
        let workloads = self.new.pointer("/desiredState/workloads").and_then(Value::as_object);
        let names = workloads.into_iter().flat_map(|map| map.keys());
        names.map(String::as_str).filter(|name| self.concerns(name))
    }
}

fn to_json(state: &ankaios_model::proto::ank_base::CompleteState) -> Value {
    serde_json::to_value(complete_state(state, StateFormat::Ankaios)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
