//! The reply to a request to subscribe.

use fleet_contract::replies::SubscribeReply;
use serde::Serialize;

use super::call::{Outcome, to_json};
use crate::streams::{Feed, Subscribing};

/// Starts the subscription, which publishes nothing before the reply is handed to the session.
pub(super) async fn reply<T: Feed>(
    subscribing: Subscribing<T>,
    source: T::Source,
    content: impl Serialize,
) -> Outcome {
    let mut reply = to_json(&SubscribeReply {
        id: subscribing.id().clone(),
        topic: subscribing.topic(),
        expires_in_s: subscribing.request().ttl().duration().map(|ttl| ttl.as_secs()),
        content,
    })?;
    let start = subscribing.start(source).await?;
    reply.set_follow_up(async move { drop(start) });
    Ok(reply)
}
