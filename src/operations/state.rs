//! `state`: reads the state, or the parts of it that field masks name.

use prost::Message;
use serde::Deserialize;

use super::{Answer, LARGE, Outcome, apart, to_json};
use crate::ankaios::Client;
use crate::error::{ErrorCode, ErrorReply};
use crate::json::{self, StateFormat};
use crate::proto::ank_base::CompleteState;

/// The forms of the request: an array of field masks, or an object.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateRequest {
    #[serde(default)]
    field_masks: Vec<String>,
    #[serde(default = "sdk")]
    format: StateFormat,
}

fn sdk() -> StateFormat {
    StateFormat::Sdk
}

pub(super) async fn start(ankaios: &Client, payload: &[u8]) -> Result<Answer, ErrorReply> {
    let StateRequest { field_masks, format } = parse(payload)?;
    let call = ankaios.state(field_masks).await?;
    Ok(Box::pin(async move { reply(call.answer().await?, format).await }))
}

async fn reply(state: CompleteState, format: StateFormat) -> Outcome {
    let large = state.encoded_len() > LARGE;
    let write = move || to_json(&json::complete_state(&state, format));
    if large { apart(write).await? } else { write() }
}

fn parse(payload: &[u8]) -> Result<StateRequest, ErrorReply> {
    let invalid = |reason: String| {
        ErrorReply::new(
            ErrorCode::InvalidPayload,
            format!(
                "{reason}; expected an array of field masks such as [\"workloadStates\"], or \
                 {{\"field_masks\": [...], \"format\": \"sdk\" or \"ankaios\"}}"
            ),
        )
    };
    let text = std::str::from_utf8(payload)
        .map_err(|error| invalid(format!("the payload is not UTF-8: {error}")))?
        .trim();
    let request = if text.is_empty() {
        StateRequest { field_masks: Vec::new(), format: sdk() }
    } else if text.starts_with('[') {
        let field_masks = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        StateRequest { field_masks, format: sdk() }
    } else {
        serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?
    };
    let empty = |mask: &String| mask.split('.').any(str::is_empty);
    if let Some(mask) = request.field_masks.iter().find(|mask| empty(mask)) {
        return Err(invalid(format!("the field mask {mask:?} has an empty part")));
    }
    Ok(request)
}
