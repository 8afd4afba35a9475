//! Requests to vehicles, and their answers.

use std::time::Duration;

use bytes::Bytes;
use fleet_contract::error::ErrorReply;
use fleet_contract::operation::Operation;

use crate::Vin;

/// The answer of a vehicle.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Its reply.
    Reply(Bytes),
    /// Its error reply.
    Error(ErrorReply),
    /// There was no reply: why.
    None(String),
}

/// A request to a vehicle.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) vin: Vin,
    pub(crate) operation: Operation,
    pub(crate) payload: Bytes,
    pub(crate) user_properties: Vec<(String, String)>,
    /// How long the answer is waited for, and after which the broker drops the request.
    pub(crate) timeout: Duration,
}

impl Call {
    /// A request without user properties.
    pub(crate) fn new(
        vin: &Vin,
        operation: Operation,
        payload: impl Into<Bytes>,
        timeout: Duration,
    ) -> Self {
        let (vin, payload) = (vin.clone(), payload.into());
        Self { vin, operation, payload, user_properties: Vec::new(), timeout }
    }

    /// Whether asking again does no harm.
    pub(super) fn is_reading(&self) -> bool {
        match self.operation {
            Operation::ManifestValidate
            | Operation::ManifestHistory
            | Operation::State
            | Operation::WorkloadWait
            | Operation::EventsSubscribe
            | Operation::EventsUnsubscribe
            | Operation::LogsSubscribe
            | Operation::LogsUnsubscribe => true,
            Operation::ManifestApply
            | Operation::ManifestDelete
            | Operation::ManifestRollback
            | Operation::ManifestConfirm
            | Operation::StateUpdate
            | Operation::TrustUpdate => false,
        }
    }
}

impl Answer {
    /// The answer in a reply.
    pub(super) fn of(payload: Bytes) -> Self {
        match ErrorReply::from_payload(&payload) {
            Some(error) => Self::Error(error),
            None => Self::Reply(payload),
        }
    }
}
