//! The desired state: format version, workloads and configs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::Deserializer;

use super::config::ItemSeed;
use super::map::{NameMap, UniqueKeys, into_values};
use super::name::Name;
use super::text::{self, FromText};
use super::workload::Workload;
use crate::hints::quoted;
use crate::proto::ank_base;

/// The format versions that Ankaios supports.
const API_VERSIONS: [&str; 2] = ["v1", "v0.1"];

/// `apiVersion`: `v1`, or the older `v0.1`.
#[derive(Debug)]
pub(crate) struct ApiVersion(pub(crate) String);

impl FromText for ApiVersion {
    fn from_text(text: String) -> Result<Self, String> {
        if API_VERSIONS.contains(&text.as_str()) {
            Ok(Self(text))
        } else {
            let [current, old] = API_VERSIONS;
            Err(format!("unknown version {}, use {current} or {old}", quoted(&text)))
        }
    }
}

impl<'de> Deserialize<'de> for ApiVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

/// `configs`: a map from names to config items.
#[derive(Debug, Default)]
pub(crate) struct Configs(pub(crate) BTreeMap<String, ank_base::ConfigItem>);

impl<'de> Deserialize<'de> for Configs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueKeys::<Name, _>::new(ItemSeed::new())).map(Self)
    }
}

/// A desired state, or the part of one that field masks select.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a state")]
pub(super) struct State {
    api_version: Option<OptionalApiVersion>,
    workloads: Option<NameMap<Workload>>,
    configs: Option<Configs>,
}

/// The `apiVersion` of a part of a state. Ankaios writes empty text if the field masks do not
/// select it.
#[derive(Debug)]
struct OptionalApiVersion(String);

impl FromText for OptionalApiVersion {
    fn from_text(text: String) -> Result<Self, String> {
        if text.is_empty() {
            Ok(Self(text))
        } else {
            ApiVersion::from_text(text).map(|ApiVersion(version)| Self(version))
        }
    }
}

impl<'de> Deserialize<'de> for OptionalApiVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl From<State> for ank_base::State {
    fn from(state: State) -> Self {
        Self {
            api_version: state.api_version.map(|version| version.0).unwrap_or_default(),
            workloads: state
                .workloads
                .map(|NameMap(map)| ank_base::WorkloadMap { workloads: into_values(map) }),
            configs: state.configs.map(|Configs(configs)| ank_base::ConfigMap { configs }),
        }
    }
}
