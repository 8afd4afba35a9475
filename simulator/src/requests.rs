//! Serves the requests of the workload.

use std::time::Instant;

use ankaios_model::proto::ank_base::{
    CompleteStateRequest, CompleteStateResponse, Error, EventsCancelAccepted, LogsCancelAccepted,
    Request, Response, UpdateStateRequest, UpdateStateSuccess, request::RequestContent,
    response::ResponseContent,
};

use crate::field_mask::FieldMask;
use crate::server::SimulatedServer;

/// The answer to a request, and the other responses that the request causes.
#[derive(Debug)]
pub(crate) struct Served {
    /// Events that the workload receives before the answer.
    pub(crate) before: Vec<Response>,
    pub(crate) answer: Response,
    /// Events and log entries that the workload receives after the answer.
    pub(crate) after: Vec<Response>,
}

/// Serves one request.
pub(crate) fn serve(server: &mut SimulatedServer, request: Request, now: Instant) -> Served {
    let id = request.request_id;
    match request.request_content {
        Some(RequestContent::CompleteStateRequest(request)) => read_state(server, id, &request),
        Some(RequestContent::UpdateStateRequest(request)) => update_state(server, id, request, now),
        Some(RequestContent::LogsRequest(request)) => {
            let (answer, after) = server.read_logs(&id, &request);
            Served { before: Vec::new(), answer, after }
        }
        Some(RequestContent::LogsCancelRequest(_)) => {
            server.cancel_logs(&id);
            served(id, ResponseContent::LogsCancelAccepted(LogsCancelAccepted {}))
        }
        Some(RequestContent::EventsCancelRequest(_)) => {
            server.unsubscribe(&id);
            served(id, ResponseContent::EventsCancelAccepted(EventsCancelAccepted {}))
        }
        None => served(id, error("The Request does not contain any content")),
    }
}

/// The content of an error response.
pub(crate) fn error(message: impl Into<String>) -> ResponseContent {
    ResponseContent::Error(Error { message: message.into() })
}

fn read_state(server: &mut SimulatedServer, id: String, request: &CompleteStateRequest) -> Served {
    let masks: Vec<_> = request.field_mask.iter().map(|mask| FieldMask::parse(mask)).collect();
    let state = server.state().select(&masks);
    if request.subscribe_for_events && !masks.iter().any(FieldMask::is_empty) {
        server.subscribe(id.clone(), masks);
    }
    let response = CompleteStateResponse { complete_state: Some(state), altered_fields: None };
    served(id, ResponseContent::CompleteStateResponse(response))
}

/// Like Ankaios, sends the events before the answer if the update adds or deletes workloads,
/// and after it otherwise.
fn update_state(
    server: &mut SimulatedServer,
    id: String,
    request: UpdateStateRequest,
    now: Instant,
) -> Served {
    let update = match server.state().plan_update(request) {
        Ok(update) => update,
        Err(message) => return served(id, error(message)),
    };
    let success = UpdateStateSuccess {
        added_workloads: update.added.iter().map(ToString::to_string).collect(),
        deleted_workloads: update.deleted.iter().map(ToString::to_string).collect(),
    };
    let changes_workloads = !update.added.is_empty() || !update.deleted.is_empty();
    let events = server.apply_update(update, now);
    let mut served = served(id, ResponseContent::UpdateStateSuccess(success));
    if changes_workloads {
        served.before = events;
    } else {
        served.after = events;
    }
    served
}

fn served(request_id: String, content: ResponseContent) -> Served {
    let answer = Response { request_id, response_content: Some(content) };
    Served { before: Vec::new(), answer, after: Vec::new() }
}
