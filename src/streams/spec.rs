//! The request of a subscription, as the registry and the records need it.

use std::time::SystemTime;

use fleet_contract::requests::{EventsRequest, LogsRequest};
use fleet_contract::topics::StreamKind;
use fleet_contract::{Lifetime, SubscriptionId, rfc3339};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The request of a subscription. Requests and records are parsed by the same code, so that both
/// are checked in the same way.
pub(crate) trait Spec: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Whether it is a subscription to events or to logs.
    const KIND: StreamKind;

    /// Removes and returns the id, if there is one.
    fn take_id(&mut self) -> Option<SubscriptionId>;

    /// How long the subscription lives.
    fn ttl(&self) -> Lifetime;

    /// For a subscription that starts now: the time from which on a later process resumes it if
    /// the record has no newer one, RFC 3339. `None` means from the beginning.
    fn resume_at(&self) -> Option<String>;
}

impl Spec for EventsRequest {
    const KIND: StreamKind = StreamKind::Events;

    fn take_id(&mut self) -> Option<SubscriptionId> {
        self.id.take()
    }

    fn ttl(&self) -> Lifetime {
        self.ttl
    }

    fn resume_at(&self) -> Option<String> {
        None
    }
}

impl Spec for LogsRequest {
    const KIND: StreamKind = StreamKind::Logs;

    fn take_id(&mut self) -> Option<SubscriptionId> {
        self.id.take()
    }

    fn ttl(&self) -> Lifetime {
        self.ttl
    }

    fn resume_at(&self) -> Option<String> {
        // Without a bound the whole log is requested, and nothing of it has been published yet.
        let bounded = self.since.is_some() || self.tail.is_some();
        let now = || rfc3339::format(SystemTime::now());
        (self.follow && bounded).then(|| self.since.clone().unwrap_or_else(now))
    }
}
