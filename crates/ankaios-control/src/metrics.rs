//! The metrics of the link to Ankaios and its clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ankaios_model::proto::ank_base::response::ResponseContent;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::status::LinkState;

/// A label with its value.
type Label = [(&'static str, &'static str); 1];

/// The metrics of the link and its clients. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LinkMetrics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// 1 for the present state of the link, 0 for the others.
    states: Family<Label, Gauge>,
    reconnects: Counter,
    /// The link was connected before. An atomic, because the link changes it by a shared
    /// reference; nothing else depends on it.
    was_connected: AtomicBool,
    sent_frames: Counter,
    received_frames: Counter,
    sent: Counter,
    received: Counter,
    dropped_log_entries: Counter,
    dropped_events: Counter,
    event_stream_resyncs: Counter,
    event_stream_failures: Counter,
}

impl LinkMetrics {
    pub(super) fn new(state: LinkState) -> Self {
        let metrics = Self::default();
        metrics.set_state(state);
        metrics
    }

    /// Adds the metrics to a registry. Their names begin with `ankaios_`.
    pub fn register(&self, registry: &mut Registry) {
        let inner = &*self.0;
        let registry = registry.sub_registry_with_prefix("ankaios");
        registry.register(
            "link_state",
            "1 for the current state of the link to Ankaios, 0 for the others",
            inner.states.clone(),
        );
        for (name, help, counter) in [
            ("reconnects", "Sessions with Ankaios after the first one", &inner.reconnects),
            ("sent_frames", "Messages to Ankaios", &inner.sent_frames),
            ("received_frames", "Messages from Ankaios", &inner.received_frames),
            (
                "dropped_log_entries",
                "Log entries of Ankaios dropped because they were not processed fast enough",
                &inner.dropped_log_entries,
            ),
            (
                "dropped_events",
                "Events of Ankaios dropped because they were not processed fast enough",
                &inner.dropped_events,
            ),
            (
                "event_stream_resyncs",
                "How often an event stream was subscribed again and restarted with the whole state",
                &inner.event_stream_resyncs,
            ),
            (
                "event_stream_failures",
                "How often an event stream could not be subscribed again",
                &inner.event_stream_failures,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, counter) in [
            ("sent", "Bytes of messages to Ankaios", &inner.sent),
            ("received", "Bytes of messages from Ankaios", &inner.received),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, counter.clone());
        }
    }

    /// Sets the state of the link. Counts each connection after the first as a reconnect.
    pub(super) fn set_state(&self, present: LinkState) {
        for state in LinkState::ALL {
            let gauge = self.0.states.get_or_create_owned(&[("state", state.name())]);
            gauge.set((state == present).into());
        }
        if present == LinkState::Connected && self.0.was_connected.swap(true, Ordering::Relaxed) {
            self.reconnected();
        }
    }

    /// Counts a session that follows an earlier one.
    pub(super) fn reconnected(&self) {
        self.0.reconnects.inc();
    }

    /// Counts frames to Ankaios, and their bytes together.
    pub(super) fn sent(&self, frames: u64, bytes: usize) {
        self.0.sent_frames.inc_by(frames);
        self.0.sent.inc_by(bytes as u64);
    }

    pub(super) fn frame_received(&self) {
        self.0.received_frames.inc();
    }

    pub(super) fn received(&self, bytes: usize) {
        self.0.received.inc_by(bytes as u64);
    }

    /// Counts the log entries or events in a message that was dropped.
    pub(super) fn dropped(&self, content: &ResponseContent, count: u64) {
        match content {
            ResponseContent::LogEntriesResponse(_) => self.0.dropped_log_entries.inc_by(count),
            _ => self.0.dropped_events.inc_by(count),
        };
    }

    #[cfg(test)]
    pub(super) fn dropped_events(&self) -> u64 {
        self.0.dropped_events.get()
    }

    pub(super) fn event_stream_resynced(&self) {
        self.0.event_stream_resyncs.inc();
    }

    pub(super) fn event_stream_failed(&self) {
        self.0.event_stream_failures.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_in_one_state_and_each_connection_after_the_first_is_a_reconnect() {
        let metrics = LinkMetrics::new(LinkState::Disconnected);
        let states = || {
            ["connected", "disconnected", "closed"]
                .map(|state| metrics.0.states.get_or_create_owned(&[("state", state)]).get())
        };
        assert_eq!(states(), [0, 1, 0]);
        metrics.set_state(LinkState::Connected);
        assert_eq!((states(), metrics.0.reconnects.get()), ([1, 0, 0], 0));
        metrics.set_state(LinkState::Disconnected);
        metrics.set_state(LinkState::Connected);
        assert_eq!((states(), metrics.0.reconnects.get()), ([1, 0, 0], 1));
        metrics.set_state(LinkState::Closed);
        assert_eq!(states(), [0, 0, 1]);
    }
}
