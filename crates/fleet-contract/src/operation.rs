//! The operations that operators can request.

use std::fmt;

/// An operation of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Adds or replaces the workloads and configs of a manifest.
    ManifestApply,
    /// Deletes the workloads and configs of a manifest.
    ManifestDelete,
    /// Checks a manifest, without a request to Ankaios.
    ManifestValidate,
    /// Lists the revisions, or reads one.
    ManifestHistory,
    /// Goes back to an earlier revision.
    ManifestRollback,
    /// Keeps a change that would be taken back otherwise.
    ManifestConfirm,
    /// Reads the state.
    State,
    /// Changes parts of the state.
    StateUpdate,
    /// Waits until a workload has a state.
    WorkloadWait,
    /// Starts a subscription to changes of the state.
    EventsSubscribe,
    /// Ends a subscription to changes of the state.
    EventsUnsubscribe,
    /// Starts a subscription to the logs of workloads.
    LogsSubscribe,
    /// Ends a subscription to logs.
    LogsUnsubscribe,
    /// Replaces the trust file.
    TrustUpdate,
}

impl Operation {
    /// All operations, in the order of their declaration.
    pub const ALL: [Self; 14] = [
        Self::ManifestApply,
        Self::ManifestDelete,
        Self::ManifestValidate,
        Self::ManifestHistory,
        Self::ManifestRollback,
        Self::ManifestConfirm,
        Self::State,
        Self::StateUpdate,
        Self::WorkloadWait,
        Self::EventsSubscribe,
        Self::EventsUnsubscribe,
        Self::LogsSubscribe,
        Self::LogsUnsubscribe,
        Self::TrustUpdate,
    ];

    /// The name in topics, for example `manifest/apply`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ManifestApply => "manifest/apply",
            Self::ManifestDelete => "manifest/delete",
            Self::ManifestValidate => "manifest/validate",
            Self::ManifestHistory => "manifest/history",
            Self::ManifestRollback => "manifest/rollback",
            Self::ManifestConfirm => "manifest/confirm",
            Self::State => "state",
            Self::StateUpdate => "state/update",
            Self::WorkloadWait => "workload/wait",
            Self::EventsSubscribe => "events/subscribe",
            Self::EventsUnsubscribe => "events/unsubscribe",
            Self::LogsSubscribe => "logs/subscribe",
            Self::LogsUnsubscribe => "logs/unsubscribe",
            Self::TrustUpdate => "trust/update",
        }
    }

    /// The operation with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_found_by_name_and_listed_in_the_order_of_declaration() {
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(Operation::from_name(operation.name()), Some(operation));
            assert_eq!(operation as usize, index);
        }
        assert_eq!(Operation::from_name("manifest"), None);
    }
}
