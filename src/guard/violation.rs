//! Violations of the policy by workloads.

use std::fmt::Display;

/// The maximum number of characters of a value from outside in a message.
const MAX_SHOWN: usize = 100;

/// A violation of a rule by a workload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The name of the rule in the policy.
    pub(super) rule: &'static str,
    /// The field of the workload.
    pub(super) field: &'static str,
    /// What is wrong with it.
    pub(super) reason: String,
}

impl Violation {
    pub(super) fn new(rule: &'static str, field: &'static str, reason: impl Into<String>) -> Self {
        Self { rule, field, reason: reason.into() }
    }
}

/// The allowed values, for a message.
pub(super) fn listed<T: Display>(allowed: &[T]) -> String {
    if allowed.is_empty() {
        return "nothing".into();
    }
    allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The beginning of a value from outside, for a message.
pub(super) fn shown(value: &str) -> String {
    value.chars().take(MAX_SHOWN).collect()
}
