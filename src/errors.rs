//! Converts errors of the Ankaios crates to error replies.

use ankaios_control::RequestError;
use ankaios_model::manifest::{LineColumn, ManifestError};
use fleet_contract::error::{ErrorCode, ErrorReply};

/// The reply for a request that Ankaios did not fulfil.
pub(crate) fn request_failed(error: RequestError) -> ErrorReply {
    let code = match error {
        RequestError::AccessDenied => ErrorCode::AccessDenied,
        RequestError::Rejected(_) => ErrorCode::Rejected,
        RequestError::Timeout(_) => ErrorCode::Timeout,
        RequestError::Unavailable(_) => ErrorCode::Unavailable,
        RequestError::TooLarge { .. } | RequestError::AnswerTooLarge => ErrorCode::PayloadTooLarge,
        RequestError::NoMask | RequestError::Unexpected(_) => ErrorCode::Internal,
    };
    ErrorReply::new(code, error.to_string())
}

/// The reply for an invalid manifest.
pub(crate) fn manifest_refused(error: ManifestError) -> ErrorReply {
    let code = match error {
        ManifestError::NotUtf8 { .. } => ErrorCode::InvalidPayload,
        ManifestError::Invalid { .. } => ErrorCode::InvalidManifest,
    };
    let reply = ErrorReply::new(code, error.to_string());
    match error.position() {
        Some(LineColumn { line, column }) => reply.with("line", line).with("column", column),
        None => reply,
    }
}
