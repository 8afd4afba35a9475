//! The payloads of replies, other than states and results of updates.

use ankaios_model::json::state_names;
use ankaios_model::{InstanceName, proto::ank_base};
use serde::{Deserialize, Serialize};

use crate::SubscriptionId;

/// The reply to `manifest/validate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidateReply {
    /// Always true: the reply for an invalid manifest is an error.
    pub valid: bool,
    /// The names of the workloads in the manifest.
    pub workloads: Vec<String>,
    /// The names of the configs in the manifest.
    pub configs: Vec<String>,
    /// The masks of the update that applies the manifest.
    pub update_mask: Vec<String>,
    /// What Ankaios accepts, but probably does not do what is meant. Absent if there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<ManifestWarning>,
}

/// A part of a manifest that Ankaios accepts, but that probably does not do what is meant, for
/// example a misspelled field, which Ankaios ignores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestWarning {
    /// What it is, and what to write instead. Begins with the path of the field.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// The reply to `trust/update`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustReply {
    /// The version of the trust file that is in force.
    pub version: u64,
    /// What remains to be done. Absent if the vehicle has no other replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A workload instance and its state: the reply to `workload/wait`, and an item in the progress of
/// a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadState {
    /// The instance.
    #[serde(flatten)]
    pub instance: InstanceName,
    /// The state of the instance.
    pub execution_state: ExecutionState,
}

/// The state of a workload instance, with the names of the protobuf schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionState {
    /// The state, for example `RUNNING`.
    pub state: String,
    /// The substate, for example `RUNNING_OK`.
    pub substate: String,
    /// Details from the runtime.
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
    /// The topic of its messages.
    pub topic: String,
    /// The time until it ends, in seconds; `null` if it does not end.
    pub expires_in_s: Option<u64>,
    /// The part of the reply that depends on what is subscribed to.
    #[serde(flatten)]
    pub content: C,
}

/// The content of the reply to `events/subscribe`; `S` is a state in the format `sdk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsContent<S> {
    /// The present state of the field masks.
    pub complete_state: S,
}

/// The content of the reply to `logs/subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsContent {
    /// The instances whose logs are published.
    pub workloads: Vec<InstanceName>,
}
