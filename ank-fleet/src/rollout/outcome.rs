//! How a roll-out ends for a vehicle.

use fleet_contract::error::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::text::{self, MAX_NAME};

/// How a roll-out has ended for a vehicle, or that it has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// The change was made, and its workloads run.
    Succeeded,
    /// The vehicle had it already; nothing was sent.
    Unchanged,
    /// The change was made, and failed; or it could not be made.
    Failed,
    /// The change failed or was not confirmed, and the vehicle has taken it back.
    RolledBack,
    /// The vehicle refuses the change. It is never sent again.
    Rejected,
    /// Its workloads did not settle by the deadline.
    TimedOut,
    /// Another change of the same workloads came before it had settled.
    Superseded,
    /// The vehicle did not answer by the deadline.
    Unreachable,
    /// Nothing was sent, or the request waits at the broker for the vehicle.
    Pending,
    /// The roll-out has taken the change back.
    Undone,
}

impl OutcomeKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Succeeded,
        Self::Unchanged,
        Self::Failed,
        Self::RolledBack,
        Self::Rejected,
        Self::TimedOut,
        Self::Superseded,
        Self::Unreachable,
        Self::Pending,
        Self::Undone,
    ];

    /// The name in output, for example `rolled_back`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Rejected => "rejected",
            Self::TimedOut => "timed_out",
            Self::Superseded => "superseded",
            Self::Unreachable => "unreachable",
            Self::Pending => "pending",
            Self::Undone => "undone",
        }
    }

    /// Whether it counts for `--max-failures`.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::RolledBack | Self::Rejected | Self::TimedOut)
    }

    /// Whether the vehicle may have the change, so that an undo is sent to it.
    #[must_use]
    pub fn can_be_undone(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::TimedOut | Self::Unreachable)
    }

    /// Whether `retry --failed` attempts it again.
    #[must_use]
    pub fn can_be_retried(self) -> bool {
        matches!(self, Self::Failed | Self::RolledBack | Self::TimedOut | Self::Unreachable)
    }
}

/// Why a roll-out has ended as it has, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// All is well.
    Ok,
    /// The vehicle had it already.
    Unchanged,
    /// A workload has failed.
    WorkloadFailed,
    /// A workload has failed in the soak time.
    Soak,
    /// The vehicle did not answer.
    NoAnswer,
    /// The workloads did not settle.
    NotSettled,
    /// Another change came in between.
    Superseded,
    /// The vehicle has taken the change back.
    RolledBack,
    /// The vehicle could not take the change back.
    RollbackFailed,
    /// The roll-out has taken the change back.
    Undone,
    /// An error reply of the vehicle.
    #[serde(untagged)]
    Reply(ErrorCode),
}

/// How a roll-out has ended for a vehicle, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it has ended.
    pub outcome: OutcomeKind,
    /// Why, for programs.
    pub code: Code,
    /// Why, for people, in one short line. Equal for vehicles with the same cause.
    pub message: String,
    /// The workload that has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
}

impl Outcome {
    /// An outcome without a workload.
    pub fn new(outcome: OutcomeKind, code: Code, message: impl Into<String>) -> Self {
        Self { outcome, code, message: text::message(&message.into()), workload: None }
    }

    /// The change was made, and its workloads run.
    #[must_use]
    pub fn succeeded() -> Self {
        Self::new(OutcomeKind::Succeeded, Code::Ok, "")
    }

    /// A workload has failed.
    pub fn workload_failed(workload: &str, message: impl Into<String>) -> Self {
        let workload = Some(text::shortened(workload, MAX_NAME).into_owned());
        Self { workload, ..Self::new(OutcomeKind::Failed, Code::WorkloadFailed, message) }
    }

    /// An error reply to the request for the change.
    #[must_use]
    pub fn of_error(code: ErrorCode, message: &str) -> Self {
        let outcome = match code {
            ErrorCode::Timeout
            | ErrorCode::Unavailable
            | ErrorCode::Internal
            | ErrorCode::NotFound => OutcomeKind::Failed,
            ErrorCode::InvalidPayload
            | ErrorCode::InvalidManifest
            | ErrorCode::Rejected
            | ErrorCode::AccessDenied
            | ErrorCode::PayloadTooLarge
            | ErrorCode::Forbidden
            | ErrorCode::Untrusted => OutcomeKind::Rejected,
        };
        Self::new(outcome, Code::Reply(code), message)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_the_names_of_the_contract() {
        for kind in OutcomeKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn what_vehicles_say_is_kept_in_short() {
        let long = "x\n".repeat(1 << 20);
        for outcome in [
            Outcome::of_error(ErrorCode::Internal, &long),
            Outcome::workload_failed(&long, long.clone()),
        ] {
            let json = serde_json::to_string(&outcome).unwrap();
            assert!(json.len() < 1000 && !json.contains("\\n\""), "{json}");
            assert!(!outcome.message.contains('\n'), "{json}");
        }
    }

    #[test]
    fn codes_are_those_of_replies_and_own_ones() {
        for code in [Code::WorkloadFailed, Code::Reply(ErrorCode::Untrusted), Code::Ok] {
            let text = serde_json::to_string(&code).unwrap();
            assert_eq!(serde_json::from_str::<Code>(&text).unwrap(), code, "{text}");
        }
        assert_eq!(
            serde_json::to_string(&Code::Reply(ErrorCode::Forbidden)).unwrap(),
            "\"forbidden\""
        );
    }
}
