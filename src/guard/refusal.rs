//! Why the guard refuses a request.

use crate::error::{ErrorCode, ErrorReply};

/// What a request may not do, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The rule, by the name it has in the settings or in the policy.
    pub(super) rule: &'static str,
    /// The field of the workload, or the mask, that breaks it.
    pub(super) field: String,
    /// The workload that it is about, if it is about one.
    pub(super) workload: Option<String>,
    /// What is wrong, and what to do.
    pub(super) message: String,
}

impl From<Refusal> for ErrorReply {
    fn from(refusal: Refusal) -> Self {
        let Refusal { rule, field, workload, message } = refusal;
        let place = match &workload {
            Some(workload) => format!("workloads.{workload}: "),
            None => String::new(),
        };
        let reply = Self::new(ErrorCode::Forbidden, format!("{place}{message}"))
            .with("rule", rule)
            .with("field", field);
        match workload {
            Some(workload) => reply.with("workload", workload),
            None => reply,
        }
    }
}
