//! Revisions: the changes of operators that a vehicle keeps over restarts.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// When a change is taken back without a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RollbackMode {
    /// Never.
    #[default]
    Off,
    /// When its rollout fails or times out.
    OnFailure,
    /// Also when nobody confirms it in time after its rollout has succeeded.
    UnlessConfirmed,
}

impl RollbackMode {
    /// All modes, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Off, Self::OnFailure, Self::UnlessConfirmed];

    /// The name in settings and user properties, for example `on-failure`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OnFailure => "on-failure",
            Self::UnlessConfirmed => "unless-confirmed",
        }
    }
}

/// The error for a text that is not the name of a [`RollbackMode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not one of off, on-failure and unless-confirmed")]
pub struct UnknownRollbackMode;

impl FromStr for RollbackMode {
    type Err = UnknownRollbackMode;

    fn from_str(name: &str) -> Result<Self, UnknownRollbackMode> {
        Self::ALL.into_iter().find(|mode| mode.name() == name).ok_or(UnknownRollbackMode)
    }
}

/// The status of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevisionStatus {
    /// Its rollout is in progress.
    InProgress,
    /// Its rollout has succeeded.
    Succeeded,
    /// Its rollout has failed.
    Failed,
    /// Its rollout has not settled in time.
    TimedOut,
    /// A later change has touched its workloads before its rollout has settled.
    Superseded,
    /// It was taken back.
    RolledBack,
    /// Its rollout has succeeded, and it waits for its confirmation.
    Unconfirmed,
}

impl RevisionStatus {
    /// The name in messages, for example `rolled_back`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Superseded => "superseded",
            Self::RolledBack => "rolled_back",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// The items that a revision has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedItems {
    /// Workloads that it has added or changed.
    pub workloads: Vec<String>,
    /// Configs that it has added or changed.
    pub configs: Vec<String>,
    /// Workloads and configs that it has deleted.
    pub deleted: Vec<String>,
}

/// A revision in the reply to `manifest/history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionSummary {
    /// Its number.
    pub revision: u64,
    /// When it was made, RFC 3339.
    pub at: String,
    /// The operation that made it.
    pub operation: String,
    /// The id of the request that made it.
    pub request_id: String,
    /// The release that the request belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The fingerprints of the keys that have signed the request, as `ssh-keygen -l` prints them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
    /// Its status.
    pub status: RevisionStatus,
    /// The revision that it has taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverts: Option<u64>,
    /// What it has changed.
    pub changed: ChangedItems,
}

/// The reply to `manifest/history` without a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReply {
    /// The number of the current revision; 0 is the startup manifest alone.
    pub current: u64,
    /// The revisions that are kept, the newest first.
    pub revisions: Vec<RevisionSummary>,
}

/// The reply to `manifest/history` with a revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionReply {
    /// The revision.
    #[serde(flatten)]
    pub summary: RevisionSummary,
    /// All items that operators have changed up to this revision, as a manifest that can be
    /// applied.
    pub manifest: Value,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_the_same_names_in_text_and_in_json() {
        for mode in RollbackMode::ALL {
            assert_eq!(mode.name().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
        }
        assert_eq!("On-Failure".parse::<RollbackMode>(), Err(UnknownRollbackMode));
    }

    #[test]
    fn statuses_have_the_names_of_the_contract() {
        use RevisionStatus::*;
        for status in [InProgress, Succeeded, Failed, TimedOut, Superseded, RolledBack, Unconfirmed]
        {
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
    }
}
