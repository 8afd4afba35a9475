//! The payloads of replies that are not states.

use ankaios_model::json::state_names;
use ankaios_model::{InstanceName, proto::ank_base};
use serde::{Deserialize, Serialize};

use crate::SubscriptionId;

/// The reply to `manifest/validate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidateReply {
    /// Always true: an invalid manifest gets an error.
    pub valid: bool,
    /// The names of the workloads.
    pub workloads: Vec<String>,
    /// The names of the configs.
    pub configs: Vec<String>,
    /// The masks of the update that the manifest stands for.
    pub update_mask: Vec<String>,
}

/// An instance of a workload and its state: the reply to `workload/wait`, and an item of the
/// progress of a roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadState {
    /// The instance.
    #[serde(flatten)]
    pub instance: InstanceName,
    /// Its state.
    pub execution_state: ExecutionState,
}

/// The state of an instance, by the names of the protobuf enums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionState {
    /// Such as `RUNNING`.
    pub state: String,
    /// Such as `RUNNING_OK`.
    pub substate: String,
    /// What the runtime says about it.
    pub additional_info: String,
}

impl From<&ank_base::ExecutionState> for ExecutionState {
    fn from(state: &ank_base::ExecutionState) -> Self {
        let (name, substate) = state_names(state);
        Self {
            state: name.to_owned(),
            substate: substate.into_owned(),
            additional_info: state.additional_info().to_owned(),
        }
    }
}

/// The reply to `events/subscribe` and `logs/subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeReply<C> {
    /// The id of the subscription.
    pub id: SubscriptionId,
    /// Where its messages are published.
    pub topic: String,
    /// When it ends, in seconds from now; `null` is never.
    pub expires_in_s: Option<u64>,
    /// What the subscription starts with.
    #[serde(flatten)]
    pub content: C,
}

/// The content of the reply to `events/subscribe`; `S` is a state in the format `sdk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsContent<S> {
    /// The state of the field masks.
    pub complete_state: S,
}

/// The content of the reply to `logs/subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsContent {
    /// The instances whose logs there are.
    pub workloads: Vec<InstanceName>,
}
