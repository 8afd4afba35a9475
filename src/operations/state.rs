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

/// What a request for the state asks for.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRequest {
    /// Paths with dots, without empty parts. None means everything.
    #[serde(default)]
    pub field_masks: Vec<String>,
    /// The format of the reply.
    #[serde(default)]
    pub format: StateFormat,
}

pub(super) async fn start(ankaios: &Client, payload: &[u8]) -> Result<Answer, ErrorReply> {
    let StateRequest { field_masks, format } = StateRequest::parse(payload)?;
    let call = ankaios.state(field_masks).await?;
    Ok(Box::pin(async move { reply(call.answer().await?, format).await }))
}

async fn reply(state: CompleteState, format: StateFormat) -> Outcome {
    let large = state.encoded_len() > LARGE;
    let write = move || to_json(&json::complete_state(&state, format));
    if large { apart(write).await? } else { write() }
}

impl StateRequest {
    /// Reads an array of field masks, an object, or nothing at all.
    ///
    /// # Errors
    /// `invalid_payload`, with what is wrong and what was expected.
    pub fn parse(payload: &[u8]) -> Result<Self, ErrorReply> {
        let text = request::text(payload, EXPECTED)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        let of_masks = |field_masks| Self { field_masks, ..Self::default() };
        let request = request::parse_masks_or(text, EXPECTED, of_masks)?;
        request::check_masks("field_masks", &request.field_masks, EXPECTED)?;
        Ok(request)
    }
}
