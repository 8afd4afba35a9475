//! `events/subscribe`.

use serde::Serialize;

use super::subscribe::Subscribing;
use super::{Answer, Context, request};
use crate::error::ErrorReply;
use crate::json::{self, StateFormat};
use crate::streams::{EventsRequest, EventsSubscription};

const EXPECTED: &str = "an array of field masks such as [\"workloadStates\"], or \
                        {\"id\": \"my-id\", \"field_masks\": [...], \"ttl\": \"1h\"}";

#[derive(Serialize)]
struct Content<S> {
    complete_state: S,
}

pub(super) async fn subscribe(context: &Context, payload: &[u8]) -> Result<Answer, ErrorReply> {
    let subscribing = Subscribing::new(context, parse(payload)?)?;
    let masks = subscribing.subscription().field_masks().to_vec();
    let events = context.ankaios.subscribe(masks).await?;
    Ok(Box::pin(async move {
        let (state, events) = events.answer().await?;
        let complete_state = json::complete_state(&state, StateFormat::Sdk);
        subscribing.reply(events, Content { complete_state }).await
    }))
}

fn parse(payload: &[u8]) -> Result<EventsSubscription, ErrorReply> {
    let text = request::text(payload, EXPECTED)?;
    let request = request::parse_masks_or(text, EXPECTED, EventsRequest::of_masks)?;
    EventsSubscription::try_from(request).map_err(|error| request::invalid(error, EXPECTED))
}
