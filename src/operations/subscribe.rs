//! What the operations that begin a subscription have in common.

use serde::Serialize;

use super::{Context, Outcome, to_json};
use crate::error::ErrorReply;
use crate::streams::{Subscription, SubscriptionId, Subscriptions, Turn};

/// A subscription whose source is being asked for.
pub(super) struct Subscribing<T> {
    subscription: T,
    subscriptions: Subscriptions,
    turn: Turn,
}

/// The reply.
#[derive(Serialize)]
struct Subscribed<'a, C> {
    id: &'a SubscriptionId,
    topic: &'a str,
    /// `null` is never.
    expires_in_s: Option<u64>,
    #[serde(flatten)]
    content: C,
}

impl<T: Subscription> Subscribing<T> {
    /// Takes the place of the request among others for the same subscription.
    ///
    /// # Errors
    /// There are too many subscriptions.
    pub(super) fn new(context: &Context, subscription: T) -> Result<Self, ErrorReply> {
        let subscriptions = context.subscriptions.clone();
        subscriptions.check_room(&subscription)?;
        let turn = subscriptions.turn(T::KIND, subscription.id());
        Ok(Self { subscription, subscriptions, turn })
    }

    pub(super) fn subscription(&self) -> &T {
        &self.subscription
    }

    /// Begins to publish what comes from the source, once the reply, with `content`,
    /// has been sent.
    pub(super) async fn reply(self, source: T::Source, content: impl Serialize) -> Outcome {
        let Self { subscription, subscriptions, mut turn } = self;
        let mut reply = to_json(&Subscribed {
            id: subscription.id(),
            topic: &subscriptions.topic(&subscription),
            expires_in_s: subscription.ttl().duration().map(|ttl| ttl.as_secs()),
            content,
        })?;
        turn.comes().await;
        let begin = subscriptions.add(subscription, source).await?;
        // It is gone if the subscription was replaced in the meantime.
        reply.then(async move {
            let _ = begin.send(());
        });
        Ok(reply)
    }
}
