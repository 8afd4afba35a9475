//! Manifests: from YAML to a desired state and the update that applies or deletes it.
//!
//! ```text
//!  bytes ─► limits ─► deserializer with the checks of the schema ─► cycle check ─► Manifest
//!                                        error ─► explain ─► error with position and hint
//!  Manifest ─► UpdateStateRequest, with one mask for each workload and config
//! ```

mod cycle;
mod error;
mod explain;
mod known;
mod limits;
mod outline;
mod quotes;
mod warnings;
mod yaml;

#[cfg(test)]
mod tests;

pub use crate::line_column::LineColumn;
pub use error::ManifestError;
pub use known::nearest_field;
use serde::Deserialize;
pub use warnings::Warning;
pub use yaml::{read_yaml, to_yaml};

use crate::proto::ank_base::{CompleteState, ConfigMap, State, UpdateStateRequest, WorkloadMap};
use crate::schema::{ApiVersion, CompleteWorkload, Configs, NameMap};

/// A manifest that Ankaios' schema accepts, with at least one workload or config.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    state: State,
}

/// The position of a field at the root of a YAML or JSON document, if that is within the limits of
/// manifests.
#[must_use]
pub fn field_position(text: &str, field: &str) -> Option<LineColumn> {
    limits::check(text).ok()?;
    outline::Outline::of(text)?.root.entry(field).map(|(key, _)| key.at)
}

/// The fields of a manifest, before the checks that concern more than one of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a manifest")]
struct ManifestFields {
    api_version: Option<ApiVersion>,
    workloads: Option<NameMap<CompleteWorkload>>,
    configs: Option<Configs>,
}

impl Manifest {
    /// Parses a manifest in YAML or JSON.
    ///
    /// Accepts what Ankaios accepts, and more in two cases that are unambiguous: a number or
    /// boolean in a text field is the text as it is written, and the forms of tags and filter
    /// masks of both format versions are accepted in both versions. Names have 1 to 63
    /// characters everywhere.
    ///
    /// The state of the vehicle is not known here: dependencies and configs that are not in the
    /// manifest are accepted, because they may be on the vehicle already.
    ///
    /// # Errors
    /// See [`ManifestError`]. A manifest without workloads and configs is an error, too: its
    /// update would have no masks, and for Ankaios no mask means the whole state.
    pub fn parse(payload: &[u8]) -> Result<Self, ManifestError> {
        let text = yaml::text(payload)?;
        Self::check(yaml::read(text)?)
            .map_err(|error| explain::explain(text, error, explain::Expected::Manifest))
    }

    /// Makes the checks that concern more than one field.
    fn check(fields: ManifestFields) -> Result<Self, ManifestError> {
        let ManifestFields { api_version, workloads, configs } = fields;
        let Some(ApiVersion(api_version)) = api_version else {
            return Err(ManifestError::invalid("the manifest has no apiVersion, use v1"));
        };
        let NameMap(workloads) = workloads.unwrap_or(NameMap([].into()));
        let Configs(configs) = configs.unwrap_or_default();
        if workloads.is_empty() && configs.is_empty() {
            return Err(ManifestError::invalid("the manifest has no workloads and no configs"));
        }
        let workloads = workloads
            .into_iter()
            .map(|(name, CompleteWorkload(workload))| (name, workload.into()))
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

    /// What Ankaios accepts in this manifest, but probably does not do what is meant: fields that
    /// it ignores, for example misspelled ones. `payload` is what the manifest was parsed from.
    #[must_use]
    pub fn warnings(&self, payload: &[u8]) -> Vec<Warning> {
        yaml::text(payload).map_or_else(|_| Vec::new(), |text| warnings::find(text, &self.state))
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

    /// The workloads and configs as a desired state.
    pub fn desired_state(&self) -> &State {
        &self.state
    }

    /// The masks of the update: one for each workload, then one for each config, sorted by name.
    /// Never empty.
    pub fn update_mask(&self) -> Vec<String> {
        let workloads = self.workload_names().map(|name| format!("desiredState.workloads.{name}"));
        let configs = self.config_names().map(|name| format!("desiredState.configs.{name}"));
        workloads.chain(configs).collect()
    }

    /// The request that adds or replaces the workloads and configs.
    pub fn into_apply_request(self) -> UpdateStateRequest {
        let update_mask = self.update_mask();
        request(self.state, update_mask)
    }

    /// The request that deletes the workloads and configs: the same masks, and a state that
    /// contains none of them.
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
