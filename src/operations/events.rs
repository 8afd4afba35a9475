//! `events/subscribe` and `events/unsubscribe`.

use serde::{Deserialize, Serialize};

use super::{Answer, Context, request, to_json};
use crate::error::ErrorReply;
use crate::json::{self, StateFormat};
use crate::streams::{EventsSubscription, Lifetime, SubscriptionId};
use crate::topics::StreamKind;

const EXPECTED: &str = "an array of field masks such as [\"workloadStates\"], or \
                        {\"id\": \"my-id\", \"field_masks\": [...], \"ttl\": \"1h\"}";

/// Field masks of one subscription, which Ankaios checks for every change.
const MAX_MASKS: usize = 100;

/// Bytes of all of them.
const MAX_MASKS_SIZE: usize = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    #[serde(default)]
    id: Option<SubscriptionId>,
    field_masks: Vec<String>,
    #[serde(default)]
    ttl: Lifetime,
}

#[derive(Serialize)]
struct Subscribed<'a, S> {
    id: &'a SubscriptionId,
    topic: &'a str,
    /// `null` is never.
    expires_in_s: Option<u64>,
    complete_state: S,
}

pub(super) async fn subscribe(context: &Context, payload: &[u8]) -> Result<Answer, ErrorReply> {
    let subscription = parse(payload)?;
    context.subscriptions.check_room(&subscription)?;
    let mut turn = context.subscriptions.turn(StreamKind::Events, &subscription.id);
    let subscribing = context.ankaios.subscribe(subscription.field_masks.clone()).await?;
    let subscriptions = context.subscriptions.clone();
    Ok(Box::pin(async move {
        let (state, events) = subscribing.answer().await?;
        let topic = subscriptions.topic(&subscription);
        let mut reply = to_json(&Subscribed {
            id: &subscription.id,
            topic: &topic,
            expires_in_s: subscription.ttl.duration().map(|ttl| ttl.as_secs()),
            complete_state: json::complete_state(&state, StateFormat::Sdk),
        })?;
        turn.comes().await;
        let begin = subscriptions.add_events(subscription, events).await?;
        // It is gone if the subscription was replaced in the meantime.
        reply.then(async move {
            let _ = begin.send(());
        });
        Ok(reply)
    }))
}

fn parse(payload: &[u8]) -> Result<EventsSubscription, ErrorReply> {
    let text = request::text(payload, EXPECTED)?;
    let of_masks = |field_masks| Subscribe { id: None, field_masks, ttl: Lifetime::default() };
    let Subscribe { id, field_masks, ttl } = request::parse_masks_or(text, EXPECTED, of_masks)?;
    if field_masks.is_empty() {
        let reason = "field_masks: there is none; name the parts whose changes you want";
        return Err(request::invalid(reason, EXPECTED));
    }
    let size: usize = field_masks.iter().map(String::len).sum();
    if field_masks.len() > MAX_MASKS || size > MAX_MASKS_SIZE {
        let reason = format!(
            "field_masks: {} of {size} bytes together; allowed are {MAX_MASKS} of {MAX_MASKS_SIZE} \
             bytes",
            field_masks.len()
        );
        return Err(request::invalid(reason, EXPECTED));
    }
    request::check_masks("field_masks", &field_masks, EXPECTED)?;
    Ok(EventsSubscription { id: id.unwrap_or_else(SubscriptionId::made_up), field_masks, ttl })
}
