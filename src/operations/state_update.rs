//! `state/update`: changes parts of the state in Ankaios' own format.

use fleet_contract::error::ErrorReply;
use fleet_contract::requests::StateUpdateRequest;

use super::call::{OperationCall, PendingOutcome, run_blocking};
use super::context::OperationContext;
use super::update;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let OperationCall { force, payload, .. } = call;
    let update = run_blocking(move || StateUpdateRequest::parse(&payload)).await??;
    update::start(context, None, force, update).await
}
