//! `events/subscribe`: publishes changes of the state, or of the parts that field masks name.

use ankaios_model::json::{self, StateFormat};
use fleet_contract::error::ErrorReply;
use fleet_contract::replies::EventsContent;
use fleet_contract::requests::EventsRequest;

use super::call::{OperationCall, PendingOutcome};
use super::context::OperationContext;
use super::subscribe;
use crate::errors::request_failed;

pub(super) async fn start(
    context: &OperationContext,
    call: OperationCall,
) -> Result<PendingOutcome, ErrorReply> {
    let request = EventsRequest::parse(&call.payload)?;
    let subscribing = context.subscriptions.enqueue(request).await?;
    let masks = subscribing.request().field_masks.clone();
    let events = context.ankaios.subscribe(masks).await.map_err(request_failed)?;
    Ok(Box::pin(async move {
        let (state, events) = events.answer().await.map_err(request_failed)?;
        let complete_state = json::complete_state(&state, StateFormat::Sdk);
        subscribe::reply(subscribing, events, EventsContent { complete_state }).await
    }))
}
