//! Metrics of the connection to the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

/// The metrics of the sessions of a process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SessionMetrics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    connected: Gauge,
    degraded: Gauge,
    session_expiry: Gauge,
    reconnects: Counter,
    failures: Counter,
    sent_packets: Counter,
    received_packets: Counter,
    sent: Counter,
    received: Counter,
    /// In seconds since 1970; 0 without a client certificate.
    client_certificate_end: AtomicU64,
}

/// When the client certificate expires, if the last connection has used one.
#[derive(Debug)]
struct ClientCertificate(SessionMetrics);

impl Collector for ClientCertificate {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let end = self.0.0.client_certificate_end.load(Ordering::Relaxed);
        if end == 0 {
            return Ok(());
        }
        let gauge = ConstGauge::new(end);
        let family = encoder.encode_descriptor(
            "client_certificate_expiry_timestamp",
            "When the client certificate expires, in seconds since 1970.",
            Some(&Unit::Seconds),
            gauge.metric_type(),
        )?;
        gauge.encode(family)
    }
}

impl SessionMetrics {
    /// Adds the metrics to a registry, with the prefix `mqtt_`.
    pub fn register(&self, registry: &mut Registry) {
        let inner = &*self.0;
        let registry = registry.sub_registry_with_prefix("mqtt");
        registry.register(
            "connected",
            "1 while the MQTT session and its subscriptions are up, else 0",
            inner.connected.clone(),
        );
        registry.register(
            "degraded",
            "Number of features that the broker does not offer or allow",
            inner.degraded.clone(),
        );
        registry.register_with_unit(
            "session_expiry",
            "How long the broker keeps the session without a connection, as it says",
            Unit::Seconds,
            inner.session_expiry.clone(),
        );
        registry.register(
            "reconnects",
            "How often the session and its subscriptions were restored after a lost connection",
            inner.reconnects.clone(),
        );
        registry.register(
            "connection_failures",
            "Connections to the MQTT broker that ended or could not be established",
            inner.failures.clone(),
        );
        registry.register("sent_packets", "MQTT packets to the broker", inner.sent_packets.clone());
        registry.register(
            "received_packets",
            "MQTT packets from the broker",
            inner.received_packets.clone(),
        );
        registry.register_with_unit(
            "sent",
            "Bytes of MQTT packets to the broker, before encryption",
            Unit::Bytes,
            inner.sent.clone(),
        );
        registry.register_with_unit(
            "received",
            "Bytes of MQTT packets from the broker, after decryption",
            Unit::Bytes,
            inner.received.clone(),
        );
        registry.register_collector(Box::new(ClientCertificate(self.clone())));
    }

    /// A connection uses a client certificate that ends at this time, in seconds since 1970.
    pub(crate) fn client_certificate_ends(&self, end: Option<u64>) {
        self.0.client_certificate_end.store(end.unwrap_or(0), Ordering::Relaxed);
    }

    /// Session and subscriptions are up; `again`: not for the first time.
    pub(crate) fn up(&self, again: bool) {
        self.0.connected.set(1);
        if again {
            self.0.reconnects.inc();
        }
    }

    /// So many features are missing.
    pub(crate) fn degraded(&self, count: usize) {
        self.0.degraded.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The broker keeps the session for so many seconds.
    pub(crate) fn session_expiry(&self, seconds: u32) {
        self.0.session_expiry.set(seconds.into());
    }

    pub(crate) fn down(&self) {
        self.0.connected.set(0);
    }

    pub(crate) fn failed(&self) {
        self.0.failures.inc();
    }

    pub(crate) fn packet_sent(&self) {
        self.0.sent_packets.inc();
    }

    pub(crate) fn packet_received(&self) {
        self.0.received_packets.inc();
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.0.sent.inc_by(bytes as u64);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.0.received.inc_by(bytes as u64);
    }
}
