//! Refusals of the guard and their error replies.

use fleet_contract::error::{ErrorCode, ErrorReply};

/// The reason why the guard refuses a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The code of the reply.
    pub(super) code: ErrorCode,
    /// The name of the rule in the settings or the policy.
    pub(super) rule: &'static str,
    /// The field of the workload, or the mask, that breaks the rule.
    pub(super) field: String,
    /// The workload that breaks the rule, if it is one.
    pub(super) workload: Option<String>,
    /// What is wrong, and what to do about it.
    pub(super) message: String,
}

impl From<Refusal> for ErrorReply {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, rule, field, workload, message } = refusal;
        let place = match &workload {
            Some(workload) => format!("workloads.{workload}: "),
            None => String::new(),
        };
        let reply =
            Self::new(code, format!("{place}{message}")).with("rule", rule).with("field", field);
        match workload {
            Some(workload) => reply.with("workload", workload),
            None => reply,
        }
    }
}
