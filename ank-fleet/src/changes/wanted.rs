//! A change that is wanted.

use std::collections::BTreeMap;

use ankaios_model::manifest::{Manifest, ManifestError};
use ankaios_model::proto::ank_base::UpdateStateRequest;
use ankaios_model::update_mask::merge;
use fleet_contract::error::ErrorReply;
use fleet_contract::requests::StateUpdateRequest;
use serde_json::Value;

use super::diff::{ItemDiff, diff_items};
use super::known::Known;
use super::normal::normal;
use crate::rollout::{Change, Settled, describe, has_failed};

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
        Self { new: normal(&new), masks: request.update_mask }
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
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &str> {
        let workloads = self.new.pointer("/desiredState/workloads").and_then(Value::as_object);
        let names = workloads.into_iter().flat_map(|map| map.keys());
        names.map(String::as_str).filter(|name| self.concerns(name))
    }

    /// The states of the workloads that the change concerns.
    pub(super) fn settled(&self, known: &Known) -> Settled {
        let mut states: BTreeMap<&str, Option<Settled>> =
            self.workloads().map(|name| (name, None)).collect();
        let mut is_starting = false;
        for (workload, state, substate, info) in known.instances() {
            if !self.concerns(workload) {
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
