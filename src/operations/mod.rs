//! The operations that operators can request.
//!
//! An operation has two halves. [`Operations::start`] is called in the order of arrival: it
//! checks the rate limit, reads the request, and sends what Ankaios needs to know in that order.
//! The [`PendingOutcome`] that it returns is awaited concurrently with those of other requests.
//!
//! | module | what it is |
//! |---|---|
//! | `apply`, `delete`, `validate`, `history`, `rollback`, `confirm`, `state`, `state_update`, `workload_wait`, `events`, `logs`, `unsubscribe`, `trust_update` | the operations; `unsubscribe` is that of events and of logs |
//! | `update` | what changes the state: with revisions, hands it to their keeper; otherwise asks the guard and sends it |
//! | `update_queue` | without revisions: one update after the other |
//! | `manifest`, `subscribe` | what several operations share |
//! | `call`, `context` | the request, the outcome and its follow-up; the parts that operations use |

mod apply;
mod call;
mod confirm;
mod context;
mod delete;
mod events;
mod history;
mod logs;
mod manifest;
mod rollback;
mod state;
mod state_update;
mod subscribe;
mod trust_update;
mod unsubscribe;
mod update;
mod update_queue;
mod validate;
mod workload_wait;

use fleet_contract::error::ErrorReply;
use fleet_contract::operation::Operation;
use fleet_contract::topics::StreamKind;

use crate::streams::RetainedUse;
use crate::trust::{Scope, Unsigned};
pub(crate) use call::{FollowUp, OperationCall, Outcome, PendingOutcome, Success};
pub(crate) use context::OperationContext;
pub(crate) use update_queue::UpdateQueue;

/// A record that the broker has retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    Subscription(StreamKind),
    Rollout,
}

/// The operations on one vehicle.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    context: OperationContext,
}

impl Operations {
    /// Operations that use `context`.
    #[must_use]
    pub(crate) fn new(context: OperationContext) -> Self {
        Self { context }
    }

    /// Whether a record that the broker has retained may be used. It has no signature: it must not
    /// lead to more than a request without one.
    pub(crate) fn retained(&self, record: Record) -> RetainedUse {
        let operations: &[Operation] = match record {
            Record::Subscription(StreamKind::Events) => &[Operation::EventsSubscribe],
            Record::Subscription(StreamKind::Logs) => &[Operation::LogsSubscribe],
            // The states of any workloads are published.
            Record::Rollout => {
                &[Operation::State, Operation::WorkloadWait, Operation::EventsSubscribe]
            }
        };
        let unsigned = self.context.trust.as_ref().map(|trust| trust.unsigned(operations));
        match unsigned {
            None | Some(Unsigned::Allowed) => RetainedUse::Allowed,
            Some(Unsigned::Refused) => RetainedUse::Untrusted(
                "its record is only at the broker, and the trust file requires signatures for what \
                 it would do",
            ),
            Some(Unsigned::Unknown(reason)) => RetainedUse::NotNow(reason),
        }
    }

    /// Reads a request and hands it to Ankaios. A signed request is verified before.
    ///
    /// # Errors
    /// The error that is the reply.
    pub(crate) async fn start(&self, call: OperationCall) -> Result<PendingOutcome, ErrorReply> {
        let context = &self.context;
        let call = context.open(call)?;
        context.guard.admit(call.operation.name())?;
        match &call.signed {
            // The others have it admitted together with the items that they change.
            Some(signed) if !changes_items(call.operation) => {
                let scope = Scope::Operation(call.operation);
                let admission = context.admission(Some(signed), scope).await?;
                let context = context.clone();
                Ok(Box::pin(async move {
                    if let Some(admission) = admission {
                        admission.granted().await?;
                    }
                    begin(&context, call).await?.await
                }))
            }
            _ => begin(context, call).await,
        }
    }
}

/// Whether an operation changes workloads and configs.
fn changes_items(operation: Operation) -> bool {
    match operation {
        Operation::ManifestApply
        | Operation::ManifestDelete
        | Operation::ManifestRollback
        | Operation::StateUpdate => true,
        Operation::ManifestValidate
        | Operation::ManifestHistory
        | Operation::ManifestConfirm
        | Operation::State
        | Operation::WorkloadWait
        | Operation::EventsSubscribe
        | Operation::EventsUnsubscribe
        | Operation::LogsSubscribe
        | Operation::LogsUnsubscribe
        | Operation::TrustUpdate => false,
    }
}

async fn begin(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    match call.operation {
        Operation::ManifestApply => apply::start(context, call).await,
        Operation::ManifestDelete => delete::start(context, call).await,
        Operation::ManifestValidate => validate::start(context, call).await,
        Operation::ManifestHistory => history::start(context, call).await,
        Operation::ManifestRollback => rollback::start(context, call).await,
        Operation::ManifestConfirm => confirm::start(context, call).await,
        Operation::State => state::start(context, call).await,
        Operation::StateUpdate => state_update::start(context, call).await,
        Operation::WorkloadWait => workload_wait::start(context, call).await,
        Operation::EventsSubscribe => events::start(context, call).await,
        Operation::EventsUnsubscribe => unsubscribe::start(context, StreamKind::Events, call).await,
        Operation::LogsSubscribe => logs::start(context, call).await,
        Operation::LogsUnsubscribe => unsubscribe::start(context, StreamKind::Logs, call).await,
        Operation::TrustUpdate => trust_update::start(context, call).await,
    }
}
