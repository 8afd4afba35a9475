//! Metrics of subscriptions.

use fleet_contract::topics::StreamKind;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of subscriptions. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct SubscriptionMetrics {
    subscriptions: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl SubscriptionMetrics {
    /// Adds the metrics to a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        // Each series exists from the start, with 0.
        StreamKind::ALL.into_iter().for_each(|kind| drop(self.gauge(kind)));
        registry.register(
            "subscriptions",
            "Subscriptions of operators, by kind",
            self.subscriptions.clone(),
        );
    }

    /// Sets the number of subscriptions of a kind.
    pub(super) fn set(&self, kind: StreamKind, count: usize) {
        self.gauge(kind).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn gauge(&self, kind: StreamKind) -> Gauge {
        self.subscriptions.get_or_create_owned(&[("kind", kind.name())])
    }
}
