//! The source and the destination of the messages of a subscription.

use ankaios_control::Client;

use super::expiry::Expiry;
use super::kept_records::KeptRecords;
use super::publisher::{Publisher, to_json};
use super::record::SubscriptionRecord;
use super::spec::Spec;

/// A kind of subscription that can be published. It is implemented for the requests.
pub(crate) trait Feed: Spec {
    /// Whether the reply contains everything that a replaced subscription of the same id has not
    /// published yet, so that its queued messages can be recalled.
    const REPLY_HAS_ALL: bool;

    /// The source of the messages.
    type Source: Send + 'static;

    /// The source of a subscription that is resumed from its record.
    fn resume(record: &SubscriptionRecord<Self>, ankaios: &Client) -> Self::Source;

    /// Publishes the messages of the source until it ends. The caller ends it when the
    /// subscription expires.
    fn publish(
        record: SubscriptionRecord<Self>,
        expiry: Expiry,
        source: Self::Source,
        outlet: Outlet,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// The destination of the messages of a subscription.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    pub(super) topic: String,
    pub(super) record_topic: String,
    pub(super) publisher: Publisher,
    pub(super) kept: KeptRecords,
}

impl Outlet {
    /// Keeps the record in the store.
    pub(super) async fn keep<T: Spec>(&self, record: &SubscriptionRecord<T>) {
        self.kept.save(T::KIND, record.id.as_str(), to_json(record)).await;
    }
}
