//! `state/update`: changes parts of the state in Ankaios' own format.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Answer, Context, apart, request, update};
use crate::error::ErrorReply;
use crate::json;
use crate::proto::ank_base::UpdateStateRequest;

const EXPECTED: &str =
    "{\"update_mask\": [\"desiredState.configs.x\"], \"state\": {\"desiredState\": {...}}}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    update_mask: Vec<String>,
    state: Box<RawValue>,
}

pub(super) async fn start(
    context: &Context,
    force: bool,
    payload: Bytes,
) -> Result<Answer, ErrorReply> {
    let update = apart(move || parse(&payload)).await??;
    update::start(context, None, force, update).await
}

fn parse(payload: &[u8]) -> Result<UpdateStateRequest, ErrorReply> {
    let Update { update_mask, state } = request::parse(payload, EXPECTED)?;
    if update_mask.is_empty() {
        let reason = "update_mask: it is empty, which would replace the whole state of the vehicle";
        return Err(request::invalid(reason, EXPECTED));
    }
    request::check_masks("update_mask", &update_mask, EXPECTED)?;
    let mut state = serde_json::Deserializer::from_str(state.get());
    let state = json::ankaios::parse_complete_state(&mut state)
        .map_err(|error| request::invalid(format!("state: {error}"), EXPECTED))?;
    Ok(UpdateStateRequest { new_state: Some(state), update_mask })
}
