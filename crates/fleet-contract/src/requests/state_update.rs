//! `state/update`: changes parts of the state in Ankaios' own format.

use ankaios_model::json::ankaios::parse_complete_state;
use ankaios_model::proto::ank_base::UpdateStateRequest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::payload::{check_masks, parse, refused};
use crate::error::ErrorReply;

const EXPECTED: &str =
    "{\"update_mask\": [\"desiredState.configs.x\"], \"state\": {\"desiredState\": {...}}}";

/// A request to change parts of the state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateUpdateRequest {
    /// The parts to replace: paths, separated by dots. Never empty, because for Ankaios no mask
    /// means the whole state.
    pub update_mask: Vec<String>,
    /// The new state, in the format of `ank get state -o json`.
    pub state: Box<RawValue>,
}

impl StateUpdateRequest {
    /// Parses a request and its state. That can take long for a large state.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what is expected.
    pub fn parse(payload: &[u8]) -> Result<UpdateStateRequest, ErrorReply> {
        let Self { update_mask, state } = parse(payload, EXPECTED)?;
        if update_mask.is_empty() {
            let reason =
                "update_mask: it is empty, which would replace the whole state of the vehicle";
            return Err(refused(payload, "", reason, EXPECTED));
        }
        check_masks("update_mask", &update_mask)
            .map_err(|reason| refused(payload, "", &reason, EXPECTED))?;
        let text = state.get();
        let state = parse_complete_state(&mut serde_json::Deserializer::from_str(text))
            .map_err(|error| refused(payload, text, &format!("state: {error}"), EXPECTED))?;
        Ok(UpdateStateRequest { new_state: Some(state), update_mask })
    }
}
