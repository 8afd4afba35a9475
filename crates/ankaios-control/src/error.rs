//! Why a request has no result.

use std::time::Duration;

/// Why a request has no result. The texts are written for the operators of a vehicle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The access rules of this workload do not allow the request.
    #[error(
        "Ankaios denies this request because of the controlInterfaceAccess of the connector's own \
         workload: no allow rule covers it, or a deny rule matches it"
    )]
    AccessDenied,
    /// Ankaios has refused the request, with this message.
    #[error("{0}")]
    Rejected(String),
    /// Ankaios has received the request and has not answered within this timeout.
    #[error(
        "Ankaios has not answered within {}; its server may be down or restarting",
        humantime::format_duration(*.0)
    )]
    Timeout(Duration),
    /// The request could not be sent, or its answer could not be received, for this reason.
    #[error("no link to Ankaios: {0}")]
    Unavailable(String),
    /// The request does not fit into the pipe to Ankaios.
    #[error(
        "the request to Ankaios has {size} bytes, but the pipe to it holds {capacity}; send it in \
         parts"
    )]
    TooLarge {
        /// Size of the frame in bytes.
        size: usize,
        /// Size of the pipe in bytes.
        capacity: usize,
    },
    /// The answer was lost, probably because it breaks the connection of Ankaios' agent to its
    /// server.
    #[error(
        "when this part of the state was requested, the connection between Ankaios' agent and its \
         server broke. The answer is probably larger than the 4 MiB that they can exchange; \
         request less, for example [\"workloadStates\"] or a single workload, and delete what is \
         not needed. It is not requested again for some minutes, unless something is deleted"
    )]
    AnswerTooLarge,
    /// The update has no update masks. Ankaios would replace the whole state of the vehicle.
    #[error("an update without masks would replace the whole state of the vehicle")]
    NoMask,
    /// Ankaios has answered with a response of this kind, which does not belong to the request.
    #[error("Ankaios has answered with {0}, which does not belong to this request")]
    Unexpected(&'static str),
}

impl RequestError {
    /// The error for the message of an `Error` response. Ankaios has no code for a denied
    /// request, only this text.
    pub(super) fn from_message(message: String) -> Self {
        if message == "Access denied" { Self::AccessDenied } else { Self::Rejected(message) }
    }
}
