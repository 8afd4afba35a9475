//! `state/update`: changes parts of the state in Ankaios' own format.

use fleet_contract::error::ErrorReply;
use fleet_contract::requests::StateUpdateRequest;

use super::call::{Answer, Call, run_blocking};
use super::context::Context;
use super::update;

pub(super) async fn start(context: &Context, call: Call) -> Result<Answer, ErrorReply> {
    let Call { force, payload, .. } = call;
    let update = run_blocking(move || StateUpdateRequest::parse(&payload)).await??;
    update::start(context, None, force, update).await
}
