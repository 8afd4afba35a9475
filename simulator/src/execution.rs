//! The execution states that a workload passes through.

use fleet_connector::proto::ank_base::{
    AddCondition, AgentDisconnected, ExecutionState, Failed, NotScheduled, Pending, Running,
    Stopping, Succeeded, execution_state::ExecutionStateEnum,
};

fn state(state: ExecutionStateEnum, additional_info: impl Into<String>) -> ExecutionState {
    ExecutionState {
        additional_info: Some(additional_info.into()),
        execution_state_enum: Some(state),
    }
}

/// Known to the server, not yet to the agent.
pub fn initial() -> ExecutionState {
    state(ExecutionStateEnum::Pending(Pending::Initial.into()), "")
}

/// Waits for the workloads that it depends on.
pub fn waiting_to_start() -> ExecutionState {
    state(ExecutionStateEnum::Pending(Pending::WaitingToStart.into()), "")
}

/// The runtime is starting it.
pub fn starting(additional_info: impl Into<String>) -> ExecutionState {
    state(ExecutionStateEnum::Pending(Pending::Starting.into()), additional_info)
}

/// The runtime could not start it and does not try again.
pub fn starting_failed(additional_info: impl Into<String>) -> ExecutionState {
    state(ExecutionStateEnum::Pending(Pending::StartingFailed.into()), additional_info)
}

/// It runs.
pub fn running() -> ExecutionState {
    state(ExecutionStateEnum::Running(Running::Ok.into()), "")
}

/// The agent is stopping it because it was deleted.
pub fn stopping_requested() -> ExecutionState {
    state(ExecutionStateEnum::Stopping(Stopping::RequestedAtRuntime.into()), "")
}

/// It has ended with exit code 0.
pub fn succeeded() -> ExecutionState {
    state(ExecutionStateEnum::Succeeded(Succeeded::Ok.into()), "")
}

/// It has ended with another exit code.
pub fn failed(exit_code: i32) -> ExecutionState {
    let info = format!("Exit code: '{exit_code}'");
    state(ExecutionStateEnum::Failed(Failed::ExecFailed.into()), info)
}

/// It belongs to no agent.
pub fn not_scheduled() -> ExecutionState {
    state(ExecutionStateEnum::NotScheduled(NotScheduled::NotScheduled.into()), "")
}

/// Its agent has no connection to the server.
pub fn agent_disconnected() -> ExecutionState {
    let state_enum = AgentDisconnected::AgentDisconnected.into();
    state(ExecutionStateEnum::AgentDisconnected(state_enum), "")
}

/// Whether a workload in this state lets one start that depends on it.
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

/// Whether it runs.
pub(crate) fn is_running(state: &ExecutionState) -> bool {
    matches!(state.execution_state_enum, Some(ExecutionStateEnum::Running(_)))
}
