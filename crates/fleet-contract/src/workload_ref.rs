//! References to a workload or an instance, for requests of logs.

use std::fmt;

use ankaios_model::InstanceName;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Maximum length of a workload name, in bytes. The limit of Ankaios is much lower.
const MAX_NAME: usize = 256;

/// A workload, or one instance of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum WorkloadRef {
    /// The name of a workload: all its instances, including future ones.
    Name(String),
    /// One instance.
    Instance(InstanceName),
}

impl WorkloadRef {
    /// The name of the workload, also for an instance.
    #[must_use]
    pub fn workload_name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Instance(instance) => &instance.workload_name,
        }
    }

    /// Whether the reference is to this instance, or to its workload.
    #[must_use]
    pub fn includes(&self, instance: &InstanceName) -> bool {
        match self {
            Self::Name(name) => *name == instance.workload_name,
            Self::Instance(referenced) => referenced == instance,
        }
    }

    /// Size of all names in the reference, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Name(name) => name.len(),
            Self::Instance(InstanceName { agent_name, workload_name, workload_id }) => {
                agent_name.len() + workload_name.len() + workload_id.len()
            }
        }
    }

    /// Checks the workload name, which becomes a part of a field mask.
    fn check<E: de::Error>(self) -> Result<Self, E> {
        let name = self.workload_name();
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['.', '*']) {
            let name: String = name.chars().take(MAX_NAME).collect();
            return Err(E::custom(format!("{name:?} is not a valid workload name")));
        }
        Ok(self)
    }
}

/// Not derived: the error of a derived implementation says only that no variant matches.
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
