//! A request for an operation and its outcome.

use std::pin::Pin;

use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::operation::Operation;
use serde::Serialize;
use tokio::task::JoinError;

use crate::trust::Signed;

/// A request for an operation, parsed as far as all operations have it in common.
#[derive(Debug, Clone)]
pub(crate) struct OperationCall {
    /// The requested operation.
    pub operation: Operation,
    /// Identifies the request in messages about its progress.
    pub request_id: String,
    /// Whether the request lifts the protection of workloads.
    pub force: bool,
    /// The release that the change belongs to, which is kept with the revision.
    pub release: Option<String>,
    /// When the change is taken back.
    pub rollback: Option<String>,
    /// The payload of the request.
    pub payload: Bytes,
    /// What a signed request has beside its payload.
    pub signed: Option<Signed>,
}

/// Work to do after a reply is handed to the session, such as following a rollout.
pub(crate) type FollowUp = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A successful reply.
pub(crate) struct Success {
    /// The payload, UTF-8 JSON.
    pub payload: Bytes,
    /// Work to do after the reply.
    pub follow_up: Option<FollowUp>,
}

impl Success {
    pub(super) fn set_follow_up(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.follow_up = Some(Box::pin(work));
    }
}

/// The outcome of an operation: a successful reply or an error reply.
pub(crate) type Outcome = Result<Success, ErrorReply>;

/// The second half of an operation: a future of its outcome.
pub(crate) type PendingOutcome = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// An outcome that is known already.
pub(super) fn ready(outcome: Outcome) -> PendingOutcome {
    Box::pin(std::future::ready(outcome))
}

/// A successful reply with this payload.
pub(super) fn to_json(value: &impl Serialize) -> Outcome {
    let payload = serde_json::to_vec(value).map_err(|error| {
        ErrorReply::new(ErrorCode::Internal, format!("the reply cannot be written: {error}"))
    })?;
    Ok(Success { payload: payload.into(), follow_up: None })
}

/// Runs slow work on the blocking pool.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ErrorReply> {
    tokio::task::spawn_blocking(work).await.map_err(|error: JoinError| {
        ErrorReply::new(ErrorCode::Internal, format!("the connector has failed: {error}"))
    })
}
