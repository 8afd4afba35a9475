//! Workloads.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

use super::access::ControlInterfaceAccess;
use super::map::{NameMap, duplicate, into_values};
use super::name::{AgentName, Name};
use super::spelling::EnumValue;
use super::text::Text;
use crate::proto::ank_base::file::FileContent;
use crate::proto::ank_base::{self, AddCondition, RestartPolicy};

/// A workload, or a part of one. A field with the value `null` counts as absent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a workload")]
pub(crate) struct Workload {
    agent: Option<AgentName>,
    restart_policy: Option<EnumValue<RestartPolicy>>,
    // The workloads that it depends on need not be in the manifest: they may be on the vehicle
    // already, and Ankaios waits for those that do not exist.
    dependencies: Option<NameMap<EnumValue<AddCondition>>>,
    tags: Option<Tags>,
    runtime: Option<Text>,
    runtime_config: Option<Text>,
    control_interface_access: Option<ControlInterfaceAccess>,
    // From alias to config name. The config may be on the vehicle already.
    configs: Option<NameMap<Name>>,
    files: Option<Vec<File>>,
}

impl From<Workload> for ank_base::Workload {
    fn from(workload: Workload) -> Self {
        Self {
            agent: workload.agent.map(|agent| agent.0),
            restart_policy: workload.restart_policy.map(Into::into),
            dependencies: workload
                .dependencies
                .map(|NameMap(map)| ank_base::Dependencies { dependencies: into_values(map) }),
            tags: workload.tags.map(|Tags(tags)| ank_base::Tags { tags }),
            runtime: workload.runtime.map(Into::into),
            runtime_config: workload.runtime_config.map(Into::into),
            control_interface_access: workload.control_interface_access.map(Into::into),
            configs: workload
                .configs
                .map(|NameMap(map)| ank_base::ConfigMappings { configs: into_values(map) }),
            files: workload.files.map(|files| ank_base::Files {
                files: files.into_iter().map(Into::into).collect(),
            }),
        }
    }
}

/// A workload of a manifest, with all fields that Ankaios requires: `runtime`, `agent` and
/// `runtimeConfig`.
#[derive(Debug)]
pub(crate) struct CompleteWorkload(pub(crate) Workload);

impl<'de> Deserialize<'de> for CompleteWorkload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CompleteWorkloadVisitor)
    }
}

/// Checks the fields, so that an error has the position of the workload.
struct CompleteWorkloadVisitor;

impl<'de> Visitor<'de> for CompleteWorkloadVisitor {
    type Value = CompleteWorkload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a workload")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<CompleteWorkload, A::Error> {
        let workload = Workload::deserialize(MapAccessDeserializer::new(access))?;
        let missing = [
            ("runtime", workload.runtime.is_none()),
            ("agent", workload.agent.is_none()),
            ("runtimeConfig", workload.runtime_config.is_none()),
        ];
        match missing.iter().find(|(_, is_missing)| *is_missing) {
            Some((field, _)) => {
                Err(A::Error::custom(format_args!("a workload needs the field {field}")))
            }
            None => Ok(CompleteWorkload(workload)),
        }
    }
}

/// Tags: a map in `v1`, a list of `{key, value}` in `v0.1`.
///
/// Both are accepted in both versions: they have the same meaning, and Ankaios writes the tags of
/// a `v0.1` state as a map.
#[derive(Debug)]
struct Tags(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TagsVisitor)
    }
}

struct TagsVisitor;

#[derive(Deserialize)]
#[serde(expecting = "a tag with key and value")]
struct Tag {
    key: Option<Name>,
    value: Option<Text>,
}

impl<'de> Visitor<'de> for TagsVisitor {
    type Value = Tags;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, or a list of {key, value}")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Tags, A::Error> {
        let NameMap(map) = NameMap::<Text>::deserialize(MapAccessDeserializer::new(access))?;
        Ok(Tags(into_values(map)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tags, A::Error> {
        let mut tags = BTreeMap::new();
        while let Some(tag) = access.next_element()? {
            let Tag { key: Some(Name(key)), value: Some(Text(value)) } = tag else {
                return Err(A::Error::custom("a tag of a list needs the fields key and value"));
            };
            if tags.contains_key(&key) {
                return Err(duplicate(&key));
            }
            tags.insert(key, value);
        }
        Ok(Tags(tags))
    }
}

/// A file that Ankaios mounts into the workload.
///
/// Neither the path nor the base64 is checked: both may contain templates, and Ankaios accepts
/// any text.
#[derive(Debug)]
struct File {
    mount_point: String,
    content: FileContent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileFields {
    mount_point: Option<Text>,
    data: Option<Text>,
    binary_data: Option<Text>,
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = File;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<File, A::Error> {
        let fields = FileFields::deserialize(MapAccessDeserializer::new(access))?;
        let content = match (fields.data, fields.binary_data) {
            (Some(Text(data)), None) => FileContent::Data(data),
            (None, Some(Text(binary_data))) => FileContent::BinaryData(binary_data),
            // Ankaios uses the one that comes first, and ignores the other.
            (Some(_), Some(_)) => {
                return Err(A::Error::custom("a file has data or binaryData, not both"));
            }
            (None, None) => {
                return Err(A::Error::custom("a file needs the field data or binaryData"));
            }
        };
        let Some(Text(mount_point)) = fields.mount_point else {
            return Err(A::Error::custom("a file needs the field mountPoint"));
        };
        Ok(File { mount_point, content })
    }
}

impl From<File> for ank_base::File {
    fn from(file: File) -> Self {
        Self { mount_point: file.mount_point, file_content: Some(file.content) }
    }
}
