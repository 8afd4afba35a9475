//! Manifests: from YAML to the desired state and the masks of an update.
//!
//! Bytes in, messages out, no I/O. What a manifest may contain is the business
//! of the schema; here are the text around it and the requests made of it.

mod cycle;
mod error;
mod limits;
mod yaml;

#[cfg(test)]
mod tests;

use serde::Deserialize;

pub use error::{ManifestError, Position};
pub use yaml::read_yaml;

use crate::proto::ank_base::{CompleteState, ConfigMap, State, UpdateStateRequest, WorkloadMap};
use crate::schema::{ApiVersion, Complete, Configs, Named};

/// A manifest that Ankaios' schema accepts, with at least one workload or config.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    state: State,
}

/// The fields of a manifest as they stand in the text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a manifest")]
struct Fields {
    api_version: Option<ApiVersion>,
    workloads: Option<Named<Complete>>,
    configs: Option<Configs>,
}

impl Manifest {
    /// Reads a manifest in YAML or JSON.
    ///
    /// Takes what Ankaios takes, apart from what depends on the state of the
    /// vehicle: dependencies and configs that are not in the manifest may be
    /// there already. In two things it takes more, as their meaning is clear: a
    /// number or boolean in a field of text is read as the text that it is
    /// written as, and both spellings of tags and filter masks are taken in both
    /// versions of the format. Names have 1 to 63 characters everywhere.
    ///
    /// # Errors
    ///
    /// See [`ManifestError`]. A manifest without any workload or config is one of
    /// them: its update would have no masks, and to Ankaios that means the whole
    /// state.
    pub fn parse(payload: &[u8]) -> Result<Self, ManifestError> {
        let Fields { api_version, workloads, configs } = yaml::read(payload)?;
        let Some(ApiVersion(api_version)) = api_version else {
            return Err(ManifestError::invalid("the manifest has no apiVersion, use v1"));
        };
        let Named(workloads) = workloads.unwrap_or(Named([].into()));
        let Configs(configs) = configs.unwrap_or_default();
        if workloads.is_empty() && configs.is_empty() {
            return Err(ManifestError::invalid("the manifest has no workloads and no configs"));
        }
        let workloads = workloads
            .into_iter()
            .map(|(name, Complete(workload))| (name, workload.into()))
            .collect();
        if let Some(name) = cycle::find(&workloads) {
            return Err(ManifestError::invalid(format!(
                "workloads.{name}.dependencies: the dependencies form a cycle"
            )));
        }
        Ok(Self {
            state: State {
                api_version,
                workloads: (!workloads.is_empty()).then_some(WorkloadMap { workloads }),
                configs: (!configs.is_empty()).then_some(ConfigMap { configs }),
            },
        })
    }

    /// The names of the workloads, sorted.
    pub fn workload_names(&self) -> impl Iterator<Item = &str> {
        let workloads = self.state.workloads.iter();
        workloads.flat_map(|map| map.workloads.keys().map(String::as_str))
    }

    /// The names of the configs, sorted.
    pub fn config_names(&self) -> impl Iterator<Item = &str> {
        let configs = self.state.configs.iter();
        configs.flat_map(|map| map.configs.keys().map(String::as_str))
    }

    /// The manifest as a desired state.
    pub fn desired_state(&self) -> &State {
        &self.state
    }

    /// One mask for each workload, then one for each config, sorted by name.
    /// Never empty.
    pub fn update_mask(&self) -> Vec<String> {
        let workloads = self.workload_names().map(|name| format!("desiredState.workloads.{name}"));
        let configs = self.config_names().map(|name| format!("desiredState.configs.{name}"));
        workloads.chain(configs).collect()
    }

    /// The request that brings the workloads and configs onto the vehicle.
    pub fn into_apply_request(self) -> UpdateStateRequest {
        let update_mask = self.update_mask();
        request(self.state, update_mask)
    }

    /// The request that takes the workloads and configs off the vehicle: the same
    /// masks, and a state without what they name.
    pub fn into_delete_request(self) -> UpdateStateRequest {
        let update_mask = self.update_mask();
        let state = State { api_version: self.state.api_version, ..State::default() };
        request(state, update_mask)
    }
}

fn request(desired_state: State, update_mask: Vec<String>) -> UpdateStateRequest {
    UpdateStateRequest {
        new_state: Some(CompleteState {
            desired_state: Some(desired_state),
            ..CompleteState::default()
        }),
        update_mask,
    }
}
