//! What subscriptions to events and to logs have in common.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::id::SubscriptionId;
use super::lifetime::Lifetime;
use super::publisher::Publisher;
use super::record::Record;
use crate::ankaios::Client;
use crate::topics::StreamKind;

/// A subscription that an operator asks for.
///
/// It is read from the JSON of its request, and from its record as well, which is that
/// JSON with some more fields. So what is valid is checked in one place.
pub(crate) trait Subscription: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What it is a subscription to.
    const KIND: StreamKind;

    /// The reply has all that the subscription which it replaces has not yet published.
    const REPLY_HAS_ALL: bool;

    /// Where its messages come from.
    type Source: Send + 'static;

    /// Its id.
    fn id(&self) -> &SubscriptionId;

    /// How long it lives.
    fn ttl(&self) -> Lifetime;

    /// For one that begins now: the time that its record begins with, from which on a
    /// later process goes on. RFC 3339. `None` is the beginning.
    fn resume_at(&self) -> Option<String>;

    /// The source of one that a former process has served.
    fn source_again(record: &Record<Self>, ankaios: &Client) -> Self::Source;

    /// Publishes what comes from the source until it ends.
    fn publish(
        record: Record<Self>,
        source: Self::Source,
        outlet: Outlet,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// Where the messages of a subscription go.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(super) topic: String,
    pub(super) record_topic: String,
    pub(super) publisher: Publisher,
}

/// A field of a subscription is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidField {
    field: &'static str,
    reason: String,
}

impl InvalidField {
    pub(super) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}
