//! `logs/subscribe`: publishes the logs of workloads.

use fleet_contract::error::ErrorReply;
use fleet_contract::replies::LogsContent;
use fleet_contract::requests::LogsRequest;

use super::call::{OperationCall, PendingOutcome};
use super::context::OperationContext;
use super::subscribe;
use crate::streams::Follower;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let request = LogsRequest::parse(&call.payload)?;
    let mut follower = Follower::new(context.ankaios.clone(), &request);
    let subscribing = context.subscriptions.enqueue(request).await?;
    Ok(Box::pin(async move {
        let workloads = follower.open().await?;
        subscribe::reply(subscribing, follower, LogsContent { workloads }).await
    }))
}
