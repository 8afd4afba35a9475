//! Execution states of workloads.

use ankaios_model::proto::ank_base::{
    AddCondition, AgentDisconnected, ExecutionState, Failed, NotScheduled, Pending, Running,
    Stopping, Succeeded, execution_state::ExecutionStateEnum,
};

fn state(state: ExecutionStateEnum, additional_info: impl Into<String>) -> ExecutionState {
    ExecutionState {
        additional_info: Some(additional_info.into()),
        execution_state_enum: Some(state),
    }
}

/// `PENDING_INITIAL`: known to the server, not yet to the agent.
pub fn initial() -> ExecutionState {
    state(ExecutionStateEnum::Pending(Pending::Initial.into()), "")
}

/// `PENDING_WAITING_TO_START`: its dependencies are not met.
pub fn waiting_to_start() -> ExecutionState {
    state(ExecutionStateEnum::Pending(Pending::WaitingToStart.into()), "")
}

/// `PENDING_STARTING`: the runtime is starting it.
pub fn starting(additional_info: impl Into<String>) -> ExecutionState {
    state(ExecutionStateEnum::Pending(Pending::Starting.into()), additional_info)
}

/// `PENDING_STARTING_FAILED`: the runtime could not start it and does not retry.
pub fn starting_failed(additional_info: impl Into<String>) -> ExecutionState {
    state(ExecutionStateEnum::Pending(Pending::StartingFailed.into()), additional_info)
}

/// `RUNNING_OK`.
pub fn running() -> ExecutionState {
    state(ExecutionStateEnum::Running(Running::Ok.into()), "")
}

/// `STOPPING_REQUESTED_AT_RUNTIME`: the agent is stopping it.
pub fn stopping_requested() -> ExecutionState {
    state(ExecutionStateEnum::Stopping(Stopping::RequestedAtRuntime.into()), "")
}

/// `SUCCEEDED_OK`: it ended with exit code 0.
pub fn succeeded() -> ExecutionState {
    state(ExecutionStateEnum::Succeeded(Succeeded::Ok.into()), "")
}

/// `FAILED_EXEC_FAILED`: it ended with another exit code.
pub fn failed(exit_code: i32) -> ExecutionState {
    let info = format!("Exit code: '{exit_code}'");
    state(ExecutionStateEnum::Failed(Failed::ExecFailed.into()), info)
}

/// `NOT_SCHEDULED`: it has no agent.
pub fn not_scheduled() -> ExecutionState {
    state(ExecutionStateEnum::NotScheduled(NotScheduled::NotScheduled.into()), "")
}

/// `AGENT_DISCONNECTED`: its agent is not connected to the server.
pub fn agent_disconnected() -> ExecutionState {
    let state_enum = AgentDisconnected::AgentDisconnected.into();
    state(ExecutionStateEnum::AgentDisconnected(state_enum), "")
}

/// Whether a workload in this state meets the condition of a dependency on it.
pub(crate) fn fulfils(state: &ExecutionState, condition: AddCondition) -> bool {
    match (&state.execution_state_enum, condition) {
        (Some(ExecutionStateEnum::Running(_)), AddCondition::AddCondRunning) => true,
        (Some(ExecutionStateEnum::Succeeded(_)), AddCondition::AddCondSucceeded) => true,
        (Some(ExecutionStateEnum::Failed(failed)), AddCondition::AddCondFailed) => {
            *failed == i32::from(Failed::ExecFailed)
        }
        _ => false,
    }
}

/// Whether a workload in this state runs.
pub(crate) fn is_running(state: &ExecutionState) -> bool {
    matches!(state.execution_state_enum, Some(ExecutionStateEnum::Running(_)))
}
