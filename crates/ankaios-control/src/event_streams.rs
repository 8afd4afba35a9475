//! The list of event streams, with their health.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::metrics::LinkMetrics;
use super::stream_health::{StreamHealth, StreamHealthHandle};

/// The event streams of a client and its clones. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventStreams {
    /// A lock, because streams are created and dropped while others list them. It is held for
    /// one operation on the list. An entry lives as long as its stream.
    streams: Arc<Mutex<Vec<Weak<StreamEntry>>>>,
    metrics: LinkMetrics,
}

#[derive(Debug)]
struct StreamEntry {
    field_masks: Vec<String>,
    health: StreamHealthHandle,
}

/// The entry of one stream. The stream is listed until this is dropped.
#[derive(Debug)]
pub(super) struct Registration(Arc<StreamEntry>);

impl EventStreams {
    pub(super) fn new(metrics: LinkMetrics) -> Self {
        Self { streams: Arc::default(), metrics }
    }

    /// The field masks and the health of each stream.
    #[must_use]
    pub fn all(&self) -> Vec<(Vec<String>, StreamHealth)> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = streams.iter().filter_map(Weak::upgrade);
        streams.map(|stream| (stream.field_masks.clone(), stream.health.get())).collect()
    }

    /// Adds a metric to a registry: the number of streams by state, with the name
    /// `ankaios_event_streams`. The states are `subscribed` and `interrupted`.
    pub fn register(&self, registry: &mut Registry) {
        registry.sub_registry_with_prefix("ankaios").register_collector(Box::new(self.clone()));
    }

    pub(super) fn add(&self, field_masks: Vec<String>, health: StreamHealthHandle) -> Registration {
        let registered = Arc::new(StreamEntry { field_masks, health });
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&registered));
        Registration(registered)
    }

    /// Counts a stream that has subscribed again.
    pub(super) fn count_resync(&self) {
        self.metrics.event_stream_resynced();
    }

    /// Counts a failed attempt to subscribe again.
    pub(super) fn count_failure(&self) {
        self.metrics.event_stream_failed();
    }
}

impl Collector for EventStreams {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let all = self.all();
        let subscribed = all.iter().filter(|(_, health)| health.subscribed).count();
        let help = "Event streams of operators and of the connector itself, by state.";
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

    use crate::connect;

    #[tokio::test]
    async fn a_stream_is_listed_until_it_is_dropped() {
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
