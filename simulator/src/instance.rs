//! Workloads as their agents get them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ankaios_model::InstanceName;
use sha2::{Digest, Sha256};

use crate::tree::Node;

/// A workload with its templates filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RenderedWorkload {
    pub(crate) name: InstanceName,
    pub(crate) workload: Node,
}

impl RenderedWorkload {
    /// The name of its runtime.
    pub(crate) fn runtime(&self) -> Option<Arc<str>> {
        self.workload.get("runtime").and_then(Node::as_text).map(Arc::from)
    }
}

/// The rendered workloads of the desired state by workload name.
pub(crate) type RenderedWorkloads = BTreeMap<Arc<str>, Arc<RenderedWorkload>>;

/// The instance name that Ankaios gives to a workload. The id is the SHA-256 of the
/// rendered runtime configuration, in hexadecimal.
#[must_use]
pub fn instance_name(workload: &str, agent: &str, runtime_config: &str) -> InstanceName {
    let digest = Sha256::digest(runtime_config.as_bytes());
    InstanceName {
        agent_name: agent.to_owned(),
        workload_name: workload.to_owned(),
        workload_id: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_one_a_real_ankaios_gave() {
        let config = "image: localhost/bb:1\n\
                      commandOptions: [\"--net=host\", \"--init\"]\n\
                      commandArgs: [\"sleep\", \"100000\"]";
        let name = instance_name("fleetconnector", "agent_A", config);
        let text = "fleetconnector.\
                    0d285b29c441bdddc1da40645d37aba2cfaa7841f5a3cad03a599a797fdf55bd.agent_A";
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse(), Ok(name));
    }
}
