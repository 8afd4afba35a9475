//! Names of workload instances.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::proto::ank_base::WorkloadInstanceName;

/// The name of a workload instance: the workload, the agent that runs it, and an id that
/// Ankaios derives from the configuration of the workload.
///
/// Its text form is `<workload>.<id>.<agent>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceName {
    /// The agent that runs the instance; empty if the instance is not scheduled.
    pub agent_name: String,
    /// The workload.
    pub workload_name: String,
    /// The id of the instance.
    pub workload_id: String,
}

/// The error for text that is not an instance name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid instance name; the form is <workload>.<id>.<agent>")]
pub struct InvalidInstanceName(String);

impl FromStr for InstanceName {
    type Err = InvalidInstanceName;

    fn from_str(text: &str) -> Result<Self, InvalidInstanceName> {
        // Workload names and ids contain no dots. An agent name might: it gets the rest.
        let mut parts = text.splitn(3, '.').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(workload_name), Some(workload_id), Some(agent_name)) => {
                Ok(Self { agent_name, workload_name, workload_id })
            }
            _ => Err(InvalidInstanceName(text.to_owned())),
        }
    }
}

impl InstanceName {
    /// Parses the path of a workload state in an event,
    /// `workloadStates.<agent>.<workload>.<id>` with or without `.state`; `None` for other paths.
    #[must_use]
    pub fn from_state_path(path: &str) -> Option<Self> {
        let path = path.strip_prefix("workloadStates.")?;
        let path = path.strip_suffix(".state").unwrap_or(path);
        // Split from the end: workload names and ids contain no dots, an agent name might.
        let mut parts = path.rsplitn(3, '.').map(str::to_owned);
        let (workload_id, workload_name, agent_name) =
            (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { agent_name, workload_name, workload_id })
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.workload_name, self.workload_id, self.agent_name)
    }
}

impl From<&WorkloadInstanceName> for InstanceName {
    fn from(name: &WorkloadInstanceName) -> Self {
        Self {
            agent_name: name.agent_name.clone(),
            workload_name: name.workload_name.clone(),
            workload_id: name.id.clone(),
        }
    }
}

impl From<InstanceName> for WorkloadInstanceName {
    fn from(name: InstanceName) -> Self {
        Self {
            workload_name: name.workload_name,
            agent_name: name.agent_name,
            id: name.workload_id,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_state_path_contains_an_instance_name() {
        let instance = InstanceName::from_state_path("workloadStates.agent_A.nginx.1a.state");
        assert_eq!(instance.map(|name| name.to_string()).as_deref(), Some("nginx.1a.agent_A"));
        for other in ["desiredState.configs", "workloadStates.agent_A", "agents.agent_A.status"] {
            assert_eq!(InstanceName::from_state_path(other), None, "{other}");
        }
    }

    #[test]
    fn text_is_parsed_and_written() {
        for (text, workload, id, agent) in [
            ("w.1a.agent_A", "w", "1a", "agent_A"),
            ("w.1a.", "w", "1a", ""),
            ("w.1a.a.b", "w", "1a", "a.b"),
            ("..", "", "", ""),
        ] {
            let name: InstanceName = text.parse().unwrap();
            assert_eq!(name.workload_name, workload);
            assert_eq!(name.workload_id, id);
            assert_eq!(name.agent_name, agent);
            assert_eq!(name.to_string(), text);
            assert_eq!(InstanceName::from(&WorkloadInstanceName::from(name.clone())), name);
        }
        for text in ["", "w", "w.1a"] {
            assert!(text.parse::<InstanceName>().is_err());
        }
    }
}
