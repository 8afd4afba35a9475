//! `events/unsubscribe` and `logs/unsubscribe`: end a subscription.

use fleet_contract::error::ErrorReply;
use fleet_contract::requests::UnsubscribeRequest;
use fleet_contract::topics::StreamKind;

use super::call::{Answer, Call, to_json};
use super::context::Context;

pub(super) async fn start(
    context: &Context,
    kind: StreamKind,
    call: Call,
) -> Result<Answer, ErrorReply> {
    let request = UnsubscribeRequest::parse(&call.payload)?;
    let unsubscribing = context.subscriptions.enqueue_unsubscribe(kind, &request.id).await?;
    Ok(Box::pin(async move {
        unsubscribing.finish().await?;
        to_json(&request)
    }))
}
