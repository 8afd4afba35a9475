//! The workload or instance whose logs are requested.

use std::fmt;

use ankaios_model::InstanceName;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Longest name of a workload, in bytes. Ankaios' own limit is far below.
const MAX_NAME: usize = 256;

/// A workload by its name, or one instance of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum WorkloadRef {
    /// All instances of a workload, also future ones.
    Name(String),
    /// One instance.
    Instance(InstanceName),
}

impl WorkloadRef {
    /// The workload, or that of the instance.
    #[must_use]
    pub fn workload_name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Instance(instance) => &instance.workload_name,
        }
    }

    /// Whether it is this instance, or its workload.
    #[must_use]
    pub fn includes(&self, instance: &InstanceName) -> bool {
        match self {
            Self::Name(name) => *name == instance.workload_name,
            Self::Instance(wanted) => wanted == instance,
        }
    }

    /// Bytes of all its names.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Name(name) => name.len(),
            Self::Instance(InstanceName { agent_name, workload_name, workload_id }) => {
                agent_name.len() + workload_name.len() + workload_id.len()
            }
        }
    }

    /// The name becomes a part of a field mask.
    fn check<E: de::Error>(self) -> Result<Self, E> {
        let name = self.workload_name();
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['.', '*']) {
            let name: String = name.chars().take(MAX_NAME).collect();
            return Err(E::custom(format!("{name:?} is no name of a workload")));
        }
        Ok(self)
    }
}

/// By hand, so that an error says what is wrong and where, and not only that no
/// variant fits.
impl<'de> Deserialize<'de> for WorkloadRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RefVisitor;

        impl<'de> Visitor<'de> for RefVisitor {
            type Value = WorkloadRef;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a workload, or an instance name as an object")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<WorkloadRef, E> {
                WorkloadRef::Name(name.into()).check()
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WorkloadRef, A::Error> {
                let instance = InstanceName::deserialize(MapAccessDeserializer::new(map))?;
                WorkloadRef::Instance(instance).check()
            }
        }

        deserializer.deserialize_any(RefVisitor)
    }
}
