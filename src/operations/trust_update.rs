//! `trust/update`: replaces the trust file.

use fleet_contract::error::ErrorReply;
use fleet_contract::replies::TrustReply;

use super::call::{OperationCall, PendingOutcome, to_json};
use super::context::OperationContext;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let updating = context.trust()?.update(call.payload, call.request_id).await?;
    Ok(Box::pin(async move {
        let version = updating.await?;
        to_json(&TrustReply { version })
    }))
}
