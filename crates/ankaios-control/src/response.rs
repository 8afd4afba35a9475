//! The contents of Ankaios' responses.

use ankaios_model::proto::ank_base::response::ResponseContent;
use ankaios_model::proto::ank_base::{CompleteState, UpdateStateSuccess};

use super::error::RequestError;

/// The name of a response's kind, for messages.
pub(super) fn name(content: &ResponseContent) -> &'static str {
    match content {
        ResponseContent::Error(_) => "Error",
        ResponseContent::CompleteStateResponse(_) => "CompleteStateResponse",
        ResponseContent::UpdateStateSuccess(_) => "UpdateStateSuccess",
        ResponseContent::LogsRequestAccepted(_) => "LogsRequestAccepted",
        ResponseContent::LogEntriesResponse(_) => "LogEntriesResponse",
        ResponseContent::LogsStopResponse(_) => "LogsStopResponse",
        ResponseContent::LogsCancelAccepted(_) => "LogsCancelAccepted",
        ResponseContent::EventsCancelAccepted(_) => "EventsCancelAccepted",
    }
}

/// The error for a response that belongs to a request of another kind.
pub(super) fn unexpected(content: &ResponseContent) -> RequestError {
    RequestError::Unexpected(name(content))
}

/// The state in the response to a `CompleteStateRequest`.
pub(super) fn complete_state(content: ResponseContent) -> Result<CompleteState, RequestError> {
    match content {
        ResponseContent::CompleteStateResponse(response) => {
            Ok(response.complete_state.unwrap_or_default())
        }
        other => Err(unexpected(&other)),
    }
}

/// The result in the response to an `UpdateStateRequest`.
pub(super) fn update_success(content: ResponseContent) -> Result<UpdateStateSuccess, RequestError> {
    match content {
        ResponseContent::UpdateStateSuccess(success) => Ok(success),
        other => Err(unexpected(&other)),
    }
}
