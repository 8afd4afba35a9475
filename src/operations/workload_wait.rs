//! `workload/wait`: waits until a workload is in a state.

use std::time::Duration;

use ankaios_control::{EventStream, SubscribeCall, WorkloadStates};
use ankaios_model::InstanceName;
use ankaios_model::json::state_name;
use ankaios_model::proto::ank_base::execution_state::ExecutionStateEnum;
use ankaios_model::proto::ank_base::{ExecutionState, Removed};
use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::replies::WorkloadState;
use fleet_contract::requests::WorkloadWaitRequest;
use tokio::time::timeout;

use super::call::{OperationCall, Outcome, PendingOutcome, to_json};
use super::context::{MAX_WAITS, OperationContext};
use crate::errors::request_failed;

/// The state name of an instance that no longer exists.
const REMOVED: &str = "REMOVED";

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let permit = context.wait_permit().ok_or_else(too_many)?;
    let (request, limit) = WorkloadWaitRequest::parse(&call.payload)?;
    let agent = request.agent_name.as_deref().unwrap_or("*");
    // Without the last part, Ankaios 1.0.1 sends no event for the first workload of an agent.
    let mask = format!("workloadStates.{agent}.{}.*", request.workload_name);
    let subscribe_call = context.ankaios.subscribe(vec![mask]).await.map_err(request_failed)?;
    let stopping = context.stopping.clone();
    Ok(Box::pin(async move {
        let _permit = permit;
        let reached = reached_in_time(&request, subscribe_call, limit);
        // A wait can last longer than the connector may take to stop.
        stopping.run_until_cancelled(reached).await.unwrap_or_else(|| Err(stopped()))
    }))
}

async fn reached_in_time(
    request: &WorkloadWaitRequest,
    call: SubscribeCall,
    limit: Duration,
) -> Outcome {
    let (state, events) = call.answer().await.map_err(request_failed)?;
    let mut states = WorkloadStates::default();
    states.replace(&state);
    if let Some(reached) = reached(request, &states) {
        return reached;
    }
    if request.state == REMOVED
        && !states.iter().any(|(instance, _)| is_requested(request, instance))
    {
        return Err(nothing_to_remove(request));
    }
    let watch = watch(request, states, events);
    timeout(limit, watch).await.unwrap_or_else(|_| Err(not_reached(request, limit)))
}

async fn watch(
    request: &WorkloadWaitRequest,
    mut states: WorkloadStates,
    mut events: EventStream,
) -> Outcome {
    loop {
        // The next call subscribes again after an interruption.
        let Ok(event) = events.next().await else { continue };
        let changes = states.apply(&event);
        let gone = changes.gone.into_iter().find(|instance| is_requested(request, instance));
        // Most instances disappear without an event that reports the state REMOVED.
        if let Some(instance) = gone.filter(|_| request.state == REMOVED) {
            return to_json(&WorkloadState { instance, execution_state: (&removed()).into() });
        }
        if let Some(reached) = reached(request, &states) {
            return reached;
        }
    }
}

fn is_requested(request: &WorkloadWaitRequest, instance: &InstanceName) -> bool {
    instance.workload_name == request.workload_name
        && request.agent_name.as_ref().is_none_or(|agent| *agent == instance.agent_name)
}

/// The reply, if an instance of the workload is in the requested state.
fn reached(request: &WorkloadWaitRequest, states: &WorkloadStates) -> Option<Outcome> {
    let (instance, state) = states.iter().find(|(instance, state)| {
        is_requested(request, instance) && state_name(state) == request.state
    })?;
    let instance = instance.clone();
    Some(to_json(&WorkloadState { instance, execution_state: state.into() }))
}

/// The state of an instance that no longer exists.
fn removed() -> ExecutionState {
    ExecutionState {
        additional_info: None,
        execution_state_enum: Some(ExecutionStateEnum::Removed(Removed::Removed.into())),
    }
}

fn too_many() -> ErrorReply {
    let message = format!(
        "{MAX_WAITS} workload/wait requests are already in progress; subscribe to events instead"
    );
    ErrorReply::new(ErrorCode::Unavailable, message)
}

fn stopped() -> ErrorReply {
    let message = "the connector is stopping; send the request again";
    ErrorReply::new(ErrorCode::Unavailable, message)
}

fn nothing_to_remove(request: &WorkloadWaitRequest) -> ErrorReply {
    let workload = request.workload_name.as_str();
    let message = format!("there is no instance of the workload {workload:?}");
    ErrorReply::new(ErrorCode::NotFound, message).with("workload", workload)
}

fn not_reached(request: &WorkloadWaitRequest, limit: Duration) -> ErrorReply {
    let message = format!(
        "the workload {:?} has not been {} within {}",
        request.workload_name,
        request.state,
        humantime::format_duration(limit)
    );
    ErrorReply::new(ErrorCode::Timeout, message)
}
