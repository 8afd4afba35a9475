//! `state`: reads the state, or the parts of it that field masks name.

use prost::Message;
use serde::Deserialize;

use super::{Answer, LARGE, Outcome, apart, request, to_json};
use crate::ankaios::Client;
use crate::error::ErrorReply;
use crate::json::{self, StateFormat};
use crate::proto::ank_base::CompleteState;

const EXPECTED: &str = "an array of field masks such as [\"workloadStates\"], or \
                        {\"field_masks\": [...], \"format\": \"sdk\" or \"ankaios\"}";

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateRequest {
    #[serde(default)]
    field_masks: Vec<String>,
    #[serde(default)]
    format: StateFormat,
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
    let text = request::text(payload, EXPECTED)?;
    if text.is_empty() {
        return Ok(StateRequest::default());
    }
    let of_masks = |field_masks| StateRequest { field_masks, ..StateRequest::default() };
    let request = request::parse_masks_or(text, EXPECTED, of_masks)?;
    request::check_masks("field_masks", &request.field_masks, EXPECTED)?;
    Ok(request)
}
