//! `events/unsubscribe` and `logs/unsubscribe`.

use serde::{Deserialize, Serialize};

use super::{Answer, Context, request, to_json};
use crate::error::ErrorReply;
use crate::streams::SubscriptionId;
use crate::topics::StreamKind;

const EXPECTED: &str = "{\"id\": \"the id of the subscription\"}";

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Unsubscribe {
    id: SubscriptionId,
}

pub(super) fn start(
    context: &Context,
    kind: StreamKind,
    payload: &[u8],
) -> Result<Answer, ErrorReply> {
    let request: Unsubscribe = request::parse(payload, EXPECTED)?;
    let subscriptions = context.subscriptions.clone();
    let mut turn = subscriptions.turn(kind, &request.id);
    Ok(Box::pin(async move {
        turn.comes().await;
        subscriptions.remove(kind, &request.id).await?;
        to_json(&request)
    }))
}
