//! `state`: reads the state, or the parts of it that field masks name.

use ankaios_model::json::{self, StateFormat};
use ankaios_model::proto::ank_base::CompleteState;
use fleet_contract::error::ErrorReply;
use fleet_contract::requests::StateRequest;
use prost::Message;

use super::call::{OperationCall, Outcome, PendingOutcome, run_blocking, to_json};
use super::context::OperationContext;
use crate::errors::request_failed;

/// A state larger than this, in bytes of protobuf, is converted to JSON on the blocking pool, so
/// that it delays nothing else.
const MAX_INLINE: usize = 64 * 1024;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let StateRequest { field_masks, format } = StateRequest::parse(&call.payload)?;
    let reading = context.ankaios.state(field_masks).await.map_err(request_failed)?;
    Ok(Box::pin(async move {
        // The permit is held until the reply is written, to bound the memory of large states.
        let (state, _permit) = reading.answer_with_permit().await.map_err(request_failed)?;
        reply(state, format).await
    }))
}

async fn reply(state: CompleteState, format: StateFormat) -> Outcome {
    let is_large = state.encoded_len() > MAX_INLINE;
    let write = move || to_json(&json::complete_state(&state, format));
    if is_large { run_blocking(write).await? } else { write() }
}
