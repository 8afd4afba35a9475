//! The progress of what was applied, on `manifest/apply/status`.

use serde::{Deserialize, Serialize};

use crate::replies::WorkloadState;

/// How far a roll-out is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutStatus {
    /// Some workloads have not settled.
    InProgress,
    /// All workloads run or have ended well.
    Succeeded,
    /// All workloads have settled, and some have failed.
    Failed,
    /// Some workloads have not settled in time.
    TimedOut,
    /// Another change has replaced some of the workloads.
    Superseded,
}

/// The states of all workloads of a roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutProgress {
    /// The request that applied them.
    pub request_id: String,
    /// How far the roll-out is.
    pub status: RolloutStatus,
    /// Its workloads.
    pub workloads: Vec<WorkloadState>,
}
