//! `events/unsubscribe` and `logs/unsubscribe`: ends a subscription.

use fleet_contract::error::ErrorReply;
use fleet_contract::requests::UnsubscribeRequest;
use fleet_contract::topics::StreamKind;

use super::call::{OperationCall, PendingOutcome, to_json};
use super::context::OperationContext;

pub(super) async fn start(
    context: &OperationContext,
    kind: StreamKind,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let request = UnsubscribeRequest::parse(&call.payload)?;
    let unsubscribing = context.subscriptions.enqueue_unsubscribe(kind, &request.id).await?;
    Ok(Box::pin(async move {
        unsubscribing.finish().await?;
        to_json(&request)
    }))
}
