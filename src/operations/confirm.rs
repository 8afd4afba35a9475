//! `manifest/confirm`: keeps a change that would be taken back otherwise.

use fleet_contract::error::ErrorReply;
use fleet_contract::requests::ConfirmRequest;

use super::call::{OperationCall, PendingOutcome, to_json};
use super::context::OperationContext;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let ConfirmRequest { revision } = ConfirmRequest::parse(&call.payload)?;
    let pending = context.revisions()?.confirm(revision).await?;
    Ok(Box::pin(async move {
        let revision = pending.answer().await?;
        to_json(&ConfirmRequest { revision })
    }))
}
