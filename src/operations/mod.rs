//! The operations that operators can request, one file each.
//!
//! An operation has two halves. [`Operations::start`] decodes the request and
//! hands it to Ankaios; it is awaited in the order of arrival. The [`Answer`]
//! that it returns waits for the result, beside those of other requests.

mod apply;
mod delete;
mod events;
mod logs;
mod manifest;
mod request;
mod state;
mod state_update;
mod subscribe;
mod unsubscribe;
mod update;
mod validate;
mod workload_wait;

pub use state::StateRequest;

use std::pin::Pin;

use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinError;

use crate::ankaios::{Client, RequestError};
use crate::error::{ErrorCode, ErrorReply};
use crate::guard::Guard;
use crate::mqtt::{Refused, SessionEnded};
use crate::streams::{Rollouts, Subscriptions};
use crate::topics::StreamKind;

pub use update::Lane;

/// A reply that is larger than this is written off the async threads, so that
/// it delays nothing else. In bytes of its protobuf form.
const LARGE: usize = 64 * 1024;

/// An operation of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Adds or changes the items of a manifest.
    ManifestApply,
    /// Removes the items of a manifest.
    ManifestDelete,
    /// Checks a manifest and sends nothing to Ankaios.
    ManifestValidate,
    /// Reads the state.
    State,
    /// Changes parts of the state.
    StateUpdate,
    /// Waits until a workload is in a state.
    WorkloadWait,
    /// Begins to publish changes of the state.
    EventsSubscribe,
    /// Ends that.
    EventsUnsubscribe,
    /// Begins to publish the logs of workloads.
    LogsSubscribe,
    /// Ends that.
    LogsUnsubscribe,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 10] = [
        Self::ManifestApply,
        Self::ManifestDelete,
        Self::ManifestValidate,
        Self::State,
        Self::StateUpdate,
        Self::WorkloadWait,
        Self::EventsSubscribe,
        Self::EventsUnsubscribe,
        Self::LogsSubscribe,
        Self::LogsUnsubscribe,
    ];

    /// The name in the topics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ManifestApply => "manifest/apply",
            Self::ManifestDelete => "manifest/delete",
            Self::ManifestValidate => "manifest/validate",
            Self::State => "state",
            Self::StateUpdate => "state/update",
            Self::WorkloadWait => "workload/wait",
            Self::EventsSubscribe => "events/subscribe",
            Self::EventsUnsubscribe => "events/unsubscribe",
            Self::LogsSubscribe => "logs/subscribe",
            Self::LogsUnsubscribe => "logs/unsubscribe",
        }
    }

    /// The operation of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn from_name(name: &str) -> Result<Self, ErrorReply> {
        Self::ALL.into_iter().find(|operation| operation.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|operation| operation.name()).collect();
            ErrorReply::new(
                ErrorCode::NotFound,
                format!(
                    "there is no operation {:?}; there are {}",
                    name.chars().take(100).collect::<String>(),
                    known.join(", ")
                ),
            )
        })
    }
}

/// A successful reply.
pub struct Success {
    /// The payload, UTF-8 JSON.
    pub payload: Bytes,
    /// What is to be done once it has been sent.
    pub then: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Success {
    fn then(&mut self, then: impl Future<Output = ()> + Send + 'static) {
        self.then = Some(Box::pin(then));
    }
}

/// The reply, or the error that is the reply.
pub type Outcome = Result<Success, ErrorReply>;

/// The second half of an operation.
pub type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What is left to do about a retained record, such as removing it from the broker if
/// it cannot be used.
pub type Restoring = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the operations work with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The vehicle.
    pub ankaios: Client,
    /// What requests may do to it.
    pub guard: Guard,
    /// Where updates wait for each other.
    pub updates: Lane,
    /// The subscriptions of operators.
    pub subscriptions: Subscriptions,
    /// Follows what is applied; `None` if that is not wanted.
    pub rollouts: Option<Rollouts>,
}

/// The operations on one vehicle.
#[derive(Debug, Clone)]
pub struct Operations {
    context: Context,
}

impl Operations {
    /// Operations that work with `context`.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    /// Decodes a request and hands it to Ankaios. `request_id` names it in
    /// messages about its progress; `force` lifts the protection of workloads.
    ///
    /// # Errors
    /// The error that is the reply.
    pub async fn start(
        &self,
        operation: Operation,
        request_id: &str,
        force: bool,
        payload: Bytes,
    ) -> Result<Answer, ErrorReply> {
        let context = &self.context;
        context.guard.admit(operation.name())?;
        match operation {
            Operation::ManifestApply => apply::start(context, request_id, force, payload).await,
            Operation::ManifestDelete => delete::start(context, force, payload).await,
            Operation::ManifestValidate => validate::start(&context.guard, force, payload).await,
            Operation::State => state::start(&context.ankaios, &payload).await,
            Operation::StateUpdate => state_update::start(context, force, payload).await,
            Operation::WorkloadWait => workload_wait::start(&context.ankaios, &payload).await,
            Operation::EventsSubscribe => events::subscribe(context, &payload).await,
            Operation::LogsSubscribe => logs::subscribe(context, &payload).await,
            Operation::EventsUnsubscribe => {
                unsubscribe::start(context, StreamKind::Events, &payload)
            }
            Operation::LogsUnsubscribe => unsubscribe::start(context, StreamKind::Logs, &payload),
        }
    }

    /// Takes up a subscription of a former process.
    pub fn restore(
        &self,
        kind: StreamKind,
        id: &str,
        record: Result<Bytes, Refused>,
    ) -> Option<Restoring> {
        self.context.subscriptions.restore(kind, id, record)
    }

    /// Takes up a roll-out of a former process.
    pub fn restore_rollout(&self, id: &str, record: Result<Bytes, Refused>) -> Option<Restoring> {
        let rollouts = self.context.rollouts.clone()?;
        Some(Box::pin(rollouts.restore(id.to_owned(), record)))
    }

    /// Stops all streams. The next process takes them up again.
    pub fn stop(self) {
        self.context.subscriptions.stop();
    }
}

impl From<RequestError> for ErrorReply {
    fn from(error: RequestError) -> Self {
        let code = match error {
            RequestError::AccessDenied => ErrorCode::AccessDenied,
            RequestError::Rejected(_) => ErrorCode::Rejected,
            RequestError::Timeout(_) => ErrorCode::Timeout,
            RequestError::Unavailable(_) => ErrorCode::Unavailable,
            RequestError::TooLarge { .. } => ErrorCode::PayloadTooLarge,
            RequestError::NoMask | RequestError::Unexpected(_) => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// An answer that is known already.
fn known(outcome: Outcome) -> Answer {
    Box::pin(std::future::ready(outcome))
}

fn to_json(value: &impl Serialize) -> Outcome {
    let payload = serde_json::to_vec(value).map_err(|error| {
        ErrorReply::new(ErrorCode::Internal, format!("the reply cannot be written: {error}"))
    })?;
    Ok(Success { payload: payload.into(), then: None })
}

/// A subscription that came while the connector stops.
impl From<SessionEnded> for ErrorReply {
    fn from(error: SessionEnded) -> Self {
        Self::new(ErrorCode::Unavailable, error.to_string())
    }
}

/// Does what takes long off the async threads.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ErrorReply> {
    tokio::task::spawn_blocking(work).await.map_err(|error: JoinError| {
        ErrorReply::new(ErrorCode::Internal, format!("the connector has failed: {error}"))
    })
}
