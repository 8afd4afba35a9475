//! Names of workload instances.

use std::fmt;
use std::str::FromStr;

use fleet_connector::proto::ank_base::WorkloadInstanceName;
use sha2::{Digest, Sha256};

/// One instance of a workload: its name, the id of its configuration and the
/// agent it runs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName {
    /// The workload's name.
    pub workload: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// The agent's name; empty when the workload is not scheduled.
    pub agent: String,
}

impl InstanceName {
    /// The name that Ankaios gives: the id is the SHA-256 of the rendered
    /// runtime configuration.
    pub fn new(workload: &str, agent: &str, runtime_config: &str) -> Self {
        let digest = Sha256::digest(runtime_config.as_bytes());
        let id = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { workload: workload.to_owned(), id, agent: agent.to_owned() }
    }
}

/// `<workload>.<id>.<agent>`, as in the answer to an update.
impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.workload, self.id, self.agent)
    }
}

/// A text that is no instance name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no instance name; expected `<workload>.<id>.<agent>`")]
pub struct InvalidInstanceName(String);

impl FromStr for InstanceName {
    type Err = InvalidInstanceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(workload), Some(id), Some(agent), None) => Ok(Self { workload, id, agent }),
            _ => Err(InvalidInstanceName(text.to_owned())),
        }
    }
}

impl From<&InstanceName> for WorkloadInstanceName {
    fn from(name: &InstanceName) -> Self {
        Self {
            workload_name: name.workload.clone(),
            agent_name: name.agent.clone(),
            id: name.id.clone(),
        }
    }
}

impl From<&WorkloadInstanceName> for InstanceName {
    fn from(name: &WorkloadInstanceName) -> Self {
        Self {
            workload: name.workload_name.clone(),
            id: name.id.clone(),
            agent: name.agent_name.clone(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_one_a_real_ankaios_gave() {
        let config = "image: localhost/bb:1\n\
                      commandOptions: [\"--net=host\", \"--init\"]\n\
                      commandArgs: [\"sleep\", \"100000\"]";
        let name = InstanceName::new("fleetconnector", "agent_A", config);
        let text = "fleetconnector.\
                    0d285b29c441bdddc1da40645d37aba2cfaa7841f5a3cad03a599a797fdf55bd.agent_A";
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse(), Ok(name));
    }

    #[test]
    fn other_texts_are_refused() {
        assert!("a.b".parse::<InstanceName>().is_err());
        assert!("a.b.c.d".parse::<InstanceName>().is_err());
    }
}
