//! `manifest/history`: lists the revisions, or reads one.

use fleet_contract::error::{ErrorCode, ErrorReply};
use fleet_contract::requests::HistoryRequest;

use super::call::{OperationCall, PendingOutcome, to_json};
use super::context::OperationContext;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let request = HistoryRequest::parse(&call.payload)?;
    let revisions = context.revisions()?;
    Ok(match request.revision {
        None => {
            let pending = revisions.history().await?;
            Box::pin(async move { to_json(&pending.answer().await?) })
        }
        Some(0) => {
            let message = "revision 0 is the startup manifest alone: no change of operators \
                           belongs to it, so there is nothing to show; read what the vehicle has \
                           with the operation state";
            return Err(ErrorReply::new(ErrorCode::NotFound, message));
        }
        Some(revision) => {
            let pending = revisions.revision(revision).await?;
            Box::pin(async move { to_json(&pending.answer().await?) })
        }
    })
}
