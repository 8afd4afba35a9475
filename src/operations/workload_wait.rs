//! `workload/wait`: waits until a workload is in a state.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Answer, request, to_json};
use crate::ankaios::{Client, WorkloadStates};
use crate::error::{ErrorCode, ErrorReply};
use crate::json::{self, InstanceName, execution_state};
use crate::proto::ank_base::execution_state::ExecutionStateEnum;
use crate::proto::ank_base::{ExecutionState, Removed};

const EXPECTED: &str = "{\"workload_name\": \"nginx\", \"state\": \"RUNNING\"}, and optionally \
                        \"agent_name\" and \"timeout\" such as \"30s\"";

/// Without a `timeout`, it is waited so long.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// A longer wait would keep the broker from delivering further requests: they
/// are acknowledged in their order.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// The state of what is no longer there.
const REMOVED: &str = "REMOVED";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    workload_name: String,
    #[serde(default)]
    agent_name: Option<String>,
    state: String,
    #[serde(default)]
    timeout: Option<String>,
}

#[derive(Serialize)]
struct Reached<S> {
    #[serde(flatten)]
    instance: InstanceName,
    execution_state: S,
}

pub(super) async fn start(ankaios: &Client, payload: &[u8]) -> Result<Answer, ErrorReply> {
    let wait: Wait = request::parse(payload, EXPECTED)?;
    let limit = limit(wait.timeout.as_deref())?;
    for (field, name) in
        [("workload_name", Some(&wait.workload_name)), ("agent_name", wait.agent_name.as_ref())]
    {
        if name.is_some_and(|name| name.is_empty() || name.contains(['.', '*'])) {
            return Err(request::invalid(format!("{field}: it is no name"), EXPECTED));
        }
    }
    if !json::STATES.contains(&wait.state.as_str()) {
        let states = json::STATES.join(", ");
        let reason = format!("state: {:?} is no state; there are {states}", wait.state);
        return Err(request::invalid(reason, EXPECTED));
    }
    let agent = wait.agent_name.as_deref().unwrap_or("*");
    let mask = format!("workloadStates.{agent}.{}", wait.workload_name);
    let subscribing = ankaios.subscribe(vec![mask]).await?;
    Ok(Box::pin(async move {
        let (state, mut events) = subscribing.answer().await?;
        let mut states = WorkloadStates::default();
        states.replace(&state);
        if let Some(reached) = wait.reached(&states) {
            return reached;
        }
        if wait.state == REMOVED && !states.iter().any(|(instance, _)| wait.is_for(instance)) {
            return Err(nothing_to_remove(&wait));
        }
        let watch = async {
            loop {
                // An interrupted subscription is made again by the next call.
                let Ok(event) = events.next().await else { continue };
                let changes = states.apply(&event);
                let gone = changes.gone.into_iter().find(|instance| wait.is_for(instance));
                // Most often an instance is gone without having been in the state.
                if let Some(instance) = gone.filter(|_| wait.state == REMOVED) {
                    return to_json(&Reached { instance, execution_state: removed() });
                }
                if let Some(reached) = wait.reached(&states) {
                    return reached;
                }
            }
        };
        timeout(limit, watch).await.unwrap_or_else(|_| Err(not_reached(&wait, limit)))
    }))
}

fn limit(text: Option<&str>) -> Result<Duration, ErrorReply> {
    let Some(text) = text else { return Ok(DEFAULT_TIMEOUT) };
    let limit = humantime::parse_duration(text).map_err(|error| {
        request::invalid(format!("timeout: {text:?}: {error}; write it as 30s or 5m"), EXPECTED)
    })?;
    if limit > LONGEST_TIMEOUT {
        let longest = humantime::format_duration(LONGEST_TIMEOUT);
        let reason = format!(
            "timeout: {text:?} is longer than {longest}, the longest that a request may wait; for \
             more, subscribe to events"
        );
        return Err(request::invalid(reason, EXPECTED));
    }
    Ok(limit)
}

impl Wait {
    fn is_for(&self, instance: &InstanceName) -> bool {
        instance.workload_name == self.workload_name
            && self.agent_name.as_ref().is_none_or(|agent| *agent == instance.agent_name)
    }

    /// The reply, if an instance of the workload is in the wanted state.
    fn reached(&self, states: &WorkloadStates) -> Option<super::Outcome> {
        let (instance, state) = states.iter().find(|(instance, state)| {
            self.is_for(instance) && json::state_name(state) == self.state
        })?;
        let instance = instance.clone();
        Some(to_json(&Reached { instance, execution_state: execution_state(state) }))
    }
}

/// What would be the state of an instance that is gone.
fn removed() -> impl Serialize {
    static GONE: ExecutionState = ExecutionState {
        additional_info: None,
        execution_state_enum: Some(ExecutionStateEnum::Removed(Removed::Removed as i32)),
    };
    execution_state(&GONE)
}

fn nothing_to_remove(wait: &Wait) -> ErrorReply {
    let message = format!("there is no instance of the workload {:?}", wait.workload_name);
    ErrorReply::new(ErrorCode::NotFound, message).with("workload", wait.workload_name.as_str())
}

fn not_reached(wait: &Wait, limit: Duration) -> ErrorReply {
    let message = format!(
        "the workload {:?} has not been {} within {}",
        wait.workload_name,
        wait.state,
        humantime::format_duration(limit)
    );
    ErrorReply::new(ErrorCode::Timeout, message)
}
