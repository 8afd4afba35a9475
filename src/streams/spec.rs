//! What an operator asks for by a subscription.

use std::time::SystemTime;

use fleet_contract::requests::{EventsRequest, LogsRequest};
use fleet_contract::topics::StreamKind;
use fleet_contract::{Lifetime, SubscriptionId, rfc3339};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What an operator asks for. It is read from the JSON of a request, and from a record as
/// well, so that both get the same checks.
pub(crate) trait Spec: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What it is a subscription to.
    const KIND: StreamKind;

    /// Takes the id out, if there is one.
    fn take_id(&mut self) -> Option<SubscriptionId>;

    /// How long the subscription lives.
    fn ttl(&self) -> Lifetime;

    /// For a subscription that starts now: the time from which on a later process resumes it
    /// as long as nothing newer is recorded, RFC 3339. `None` is the beginning.
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
        // Without a bound the whole log is wanted, and nothing of it has been published.
        let bounded = self.since.is_some() || self.tail.is_some();
        let now = || rfc3339::format(SystemTime::now());
        (self.follow && bounded).then(|| self.since.clone().unwrap_or_else(now))
    }
}
