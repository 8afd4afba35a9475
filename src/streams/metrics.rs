//! What is counted of subscriptions.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::topics::StreamKind;

/// The metrics of subscriptions. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    subscriptions: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        for kind in [StreamKind::Events, StreamKind::Logs] {
            // It is there from the beginning, with 0.
            self.gauge(kind);
        }
        registry.register(
            "subscriptions",
            "Subscriptions of operators, by kind",
            self.subscriptions.clone(),
        );
    }

    /// Counts a subscription until the result is dropped.
    pub(super) fn count(&self, kind: StreamKind) -> Counted {
        let gauge = self.gauge(kind);
        gauge.inc();
        Counted(gauge)
    }

    fn gauge(&self, kind: StreamKind) -> Gauge {
        self.subscriptions.get_or_create_owned(&[("kind", kind.name())])
    }
}

/// A subscription that counts.
#[derive(Debug)]
pub(super) struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_counts_until_it_is_dropped() {
        let metrics = Metrics::default();
        let counted = [StreamKind::Events, StreamKind::Events, StreamKind::Logs]
            .map(|kind| metrics.count(kind));
        let count = || [StreamKind::Events, StreamKind::Logs].map(|kind| metrics.gauge(kind).get());
        assert_eq!(count(), [2, 1]);
        drop(counted);
        assert_eq!(count(), [0, 0]);
    }
}
