//! `workload/wait`: waits until a workload has a state.

use std::time::Duration;

use ankaios_model::hints::{nearest, quoted};
use ankaios_model::json::STATES;
use serde::{Deserialize, Serialize};

use super::payload::{parse, refused};
use crate::error::ErrorReply;

const EXPECTED: &str = "{\"workload_name\": \"nginx\", \"state\": \"RUNNING\"}, and optionally \
                        \"agent_name\" and \"timeout\" such as \"30s\"";

/// Time limit of a request without a `timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum time limit. Requests are acknowledged in order, so with a longer wait the broker would
/// stop delivering other requests.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// A request to wait until a workload has a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadWaitRequest {
    /// The name of the workload.
    pub workload_name: String,
    /// The name of the agent that runs the workload; any agent if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    /// The name of the state, for example `RUNNING`.
    pub state: String,
    /// The time limit, for example `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

impl WorkloadWaitRequest {
    /// Parses a request and its time limit.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what is expected.
    pub fn parse(payload: &[u8]) -> Result<(Self, Duration), ErrorReply> {
        let request: Self = parse(payload, EXPECTED)?;
        let limit = limit(request.timeout.as_deref())
            .map_err(|reason| refused(payload, "", &reason, EXPECTED))?;
        for (field, name) in [
            ("workload_name", Some(&request.workload_name)),
            ("agent_name", request.agent_name.as_ref()),
        ] {
            // The name becomes a part of a field mask.
            if name.is_some_and(|name| name.is_empty() || name.contains(['.', '*'])) {
                let reason = format!("{field}: it is not a valid name");
                return Err(refused(payload, "", &reason, EXPECTED));
            }
        }
        if !STATES.contains(&request.state.as_str()) {
            let states = STATES.join(", ");
            let meant = nearest(&request.state, STATES);
            let meant = meant.map(|state| format!("did you mean {state}? ")).unwrap_or_default();
            let found = quoted(&request.state);
            let reason =
                format!("state: {found} is not a valid state; {meant}the states are {states}");
            return Err(refused(payload, "", &reason, EXPECTED));
        }
        Ok((request, limit))
    }
}

/// The time limit of a request with this `timeout`.
fn limit(text: Option<&str>) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(DEFAULT_TIMEOUT) };
    let limit = humantime::parse_duration(text)
        .map_err(|error| format!("timeout: {text:?}: {error}; write it as 30s or 5m"))?;
    if limit > MAX_TIMEOUT {
        let max = humantime::format_duration(MAX_TIMEOUT);
        let reason = format!(
            "timeout: {text:?} is longer than {max}, the limit for one request; for longer waits, \
             subscribe to events"
        );
        return Err(reason);
    }
    Ok(limit)
}
