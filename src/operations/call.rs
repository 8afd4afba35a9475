//! A request for an operation, and what it ends with.

use std::pin::Pin;

use bytes::Bytes;
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::operation::Operation;
use serde::Serialize;
use tokio::task::JoinError;

/// A request for an operation.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is wanted.
    pub operation: Operation,
    /// Names the request in messages about its progress.
    pub request_id: String,
    /// Lifts the protection of workloads.
    pub force: bool,
    /// The payload of the request.
    pub payload: Bytes,
}

/// What is done once a reply is handed to the session, such as following a roll-out.
pub type FollowUp = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A successful reply.
pub struct Success {
    /// The payload, UTF-8 JSON.
    pub payload: Bytes,
    /// What follows the reply.
    pub then: Option<FollowUp>,
}

impl Success {
    pub(super) fn then(&mut self, then: impl Future<Output = ()> + Send + 'static) {
        self.then = Some(Box::pin(then));
    }
}

/// The reply, or the error that is the reply.
pub type Outcome = Result<Success, ErrorReply>;

/// The second half of an operation: waits for its outcome.
pub type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// An answer whose outcome is known already.
pub(super) fn ready(outcome: Outcome) -> Answer {
    Box::pin(std::future::ready(outcome))
}

/// A successful reply with this payload.
pub(super) fn to_json(value: &impl Serialize) -> Outcome {
    let payload = serde_json::to_vec(value).map_err(|error| {
        ErrorReply::new(ErrorCode::Internal, format!("the reply cannot be written: {error}"))
    })?;
    Ok(Success { payload: payload.into(), then: None })
}

/// Runs slow work on the blocking pool.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ErrorReply> {
    tokio::task::spawn_blocking(work).await.map_err(|error: JoinError| {
        ErrorReply::new(ErrorCode::Internal, format!("the connector has failed: {error}"))
    })
}
