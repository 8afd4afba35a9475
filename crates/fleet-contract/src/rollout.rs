//! The progress of a rollout, on `manifest/apply/status`. A rollout begins when a manifest is
//! applied, and ends when its workloads have settled.

use serde::{Deserialize, Serialize};

use crate::replies::WorkloadState;

/// The status of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutStatus {
    /// Some workloads have not settled.
    InProgress,
    /// All workloads are running or have succeeded.
    Succeeded,
    /// All workloads have settled, and some of them have failed.
    Failed,
    /// Some workloads have not settled in time.
    TimedOut,
    /// A later request has changed some of the workloads.
    Superseded,
    /// It has failed or was not confirmed, and is being taken back.
    RollingBack,
    /// It was taken back.
    RolledBack,
    /// It could not be taken back.
    RollbackFailed,
}

/// The progress of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutProgress {
    /// The id of the request that applied the manifest.
    pub request_id: String,
    /// The status of the rollout.
    pub status: RolloutStatus,
    /// The instances of its workloads, with their states.
    pub workloads: Vec<WorkloadState>,
    /// Why it could not be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many more workloads there are that do not fit into a message of the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted_workloads: Option<usize>,
}
