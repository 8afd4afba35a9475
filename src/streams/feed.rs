//! Where the messages of a subscription come from and go to.

use ankaios_control::Client;

use super::publisher::Publisher;
use super::record::Record;
use super::spec::Spec;

/// Publishes what a subscription asks for.
pub(crate) trait Feed: Spec {
    /// The reply contains all that a replaced subscription of the same id has not published
    /// yet.
    const REPLY_HAS_ALL: bool;

    /// Where the messages come from.
    type Source: Send + 'static;

    /// The source of a subscription that a former process has served.
    fn resume(record: &Record<Self>, ankaios: &Client) -> Self::Source;

    /// Publishes what comes from the source until it ends.
    fn publish(
        record: Record<Self>,
        source: Self::Source,
        outlet: Outlet,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// Where the messages of a subscription go.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    pub(super) topic: String,
    pub(super) record_topic: String,
    pub(super) publisher: Publisher,
}
