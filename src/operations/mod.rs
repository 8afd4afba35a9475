//! The operations that operators can request, one file each.
//!
//! An operation has two halves. [`Operations::start`] decodes the request and
//! hands it to Ankaios; it is awaited in the order of arrival. The [`Answer`]
//! that it returns waits for the result, beside those of other requests.

mod apply;
mod delete;
mod manifest;
mod state;
mod validate;

use std::pin::Pin;

use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinError;

use crate::ankaios::{Client, RequestError};
use crate::error::{ErrorCode, ErrorReply};

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
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 4] =
        [Self::ManifestApply, Self::ManifestDelete, Self::ManifestValidate, Self::State];

    /// The name in the topics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ManifestApply => "manifest/apply",
            Self::ManifestDelete => "manifest/delete",
            Self::ManifestValidate => "manifest/validate",
            Self::State => "state",
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
                format!("there is no operation {name:?}; there are {}", known.join(", ")),
            )
        })
    }
}

/// The payload of the reply, or the error that is the reply.
pub type Outcome = Result<Bytes, ErrorReply>;

/// The second half of an operation.
pub type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What the operations work with.
#[derive(Debug, Clone)]
pub struct Operations {
    ankaios: Client,
}

impl Operations {
    /// Operations on the vehicle behind `ankaios`.
    #[must_use]
    pub fn new(ankaios: Client) -> Self {
        Self { ankaios }
    }

    /// Decodes a request and hands it to Ankaios.
    ///
    /// # Errors
    /// The error that is the reply.
    pub async fn start(&self, operation: Operation, payload: Bytes) -> Result<Answer, ErrorReply> {
        match operation {
            Operation::ManifestApply => apply::start(&self.ankaios, payload).await,
            Operation::ManifestDelete => delete::start(&self.ankaios, payload).await,
            Operation::ManifestValidate => validate::start(payload).await,
            Operation::State => state::start(&self.ankaios, &payload).await,
        }
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
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| {
        ErrorReply::new(ErrorCode::Internal, format!("the reply cannot be written: {error}"))
    })
}

/// Does what takes long off the async threads.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ErrorReply> {
    tokio::task::spawn_blocking(work).await.map_err(|error: JoinError| {
        ErrorReply::new(ErrorCode::Internal, format!("the connector has failed: {error}"))
    })
}
