//! Which event streams there are, and how they fare.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::events::{Health, HealthHandle};
use super::metrics::Metrics;

/// The event streams of a client and its clones. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventStreams {
    streams: Arc<Mutex<Vec<Weak<Registered>>>>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Registered {
    field_masks: Vec<String>,
    health: HealthHandle,
}

/// Keeps a stream among those that there are until it is dropped.
#[derive(Debug)]
pub(super) struct Registration(Arc<Registered>);

impl EventStreams {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { streams: Arc::default(), metrics }
    }

    /// The field masks and the health of each.
    #[must_use]
    pub fn all(&self) -> Vec<(Vec<String>, Health)> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = streams.iter().filter_map(Weak::upgrade);
        streams.map(|stream| (stream.field_masks.clone(), stream.health.get())).collect()
    }

    /// Adds how many there are, by state, to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.sub_registry_with_prefix("ankaios").register_collector(Box::new(self.clone()));
    }

    pub(super) fn add(&self, field_masks: Vec<String>, health: HealthHandle) -> Registration {
        let registered = Arc::new(Registered { field_masks, health });
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&registered));
        Registration(registered)
    }

    pub(super) fn resynced(&self) {
        self.metrics.event_stream_resynced();
    }

    pub(super) fn failed(&self) {
        self.metrics.event_stream_failed();
    }
}

impl Collector for EventStreams {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let all = self.all();
        let subscribed = all.iter().filter(|(_, health)| health.subscribed).count();
        let help = "Event streams of Ankaios, of operators and of the connector itself, by state.";
        let mut family =
            encoder.encode_descriptor("event_streams", help, None, MetricType::Gauge)?;
        for (state, count) in [("subscribed", subscribed), ("interrupted", all.len() - subscribed)]
        {
            let count = ConstGauge::new(count as u64);
            count.encode(family.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }
}

impl Registration {
    pub(super) fn field_masks(&self) -> &[String] {
        &self.0.field_masks
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::ankaios::connect;

    #[tokio::test]
    async fn a_stream_is_known_until_it_is_dropped() {
        let (client, _link) = connect("/nowhere".into(), Duration::from_secs(1));
        let masks = || vec!["workloadStates".to_owned()];
        let first = client.events(masks());
        let second = client.clone().events(masks());
        let all = client.event_streams().all();
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|(field_masks, health)| *field_masks == masks()
            && !health.subscribed
            && health.reason.is_none()));
        drop(first);
        assert_eq!(client.event_streams().all().len(), 1);
        drop(second);
        assert!(client.event_streams().all().is_empty());
    }
}
