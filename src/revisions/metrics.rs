//! Metrics of revisions.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the buckets for the time to sync, in seconds. Flash memory in a vehicle may
/// take a second.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The outcomes of putting the overlay back.
const RESTORATIONS: [&str; 3] = ["succeeded", "refused", "given_up"];

/// The outcomes of rollbacks.
const ROLLBACKS: [&str; 3] = ["requested", "succeeded", "failed"];

type OutcomeCounters = Family<[(&'static str, &'static str); 1], Counter>;

/// The metrics of revisions. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RevisionMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    revision: Gauge<u64, AtomicU64>,
    restorations: OutcomeCounters,
    rollbacks: OutcomeCounters,
    sync: Histogram,
}

impl Default for RevisionMetrics {
    fn default() -> Self {
        let counters = |outcomes: &[&'static str]| {
            let family = OutcomeCounters::default();
            for outcome in outcomes {
                // A counter that starts at 0 shows the first increase.
                drop(family.get_or_create_owned(&[("outcome", *outcome)]));
            }
            family
        };
        Self(Arc::new(Inner {
            revision: Gauge::default(),
            restorations: counters(&RESTORATIONS),
            rollbacks: counters(&ROLLBACKS),
            sync: Histogram::new(BUCKETS),
        }))
    }
}

impl RevisionMetrics {
    /// Adds the metrics to a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "revision",
            "Number of the current revision; 0 is the startup manifest alone",
            self.0.revision.clone(),
        );
        registry.register(
            "restorations",
            "Attempts to put back what operators have changed, by outcome",
            self.0.restorations.clone(),
        );
        registry.register("rollbacks", "Rollbacks, by outcome", self.0.rollbacks.clone());
        registry.register_with_unit(
            "store_sync",
            "Time to write and sync a change of the store",
            Unit::Seconds,
            self.0.sync.clone(),
        );
    }

    pub(super) fn set_revision(&self, revision: u64) {
        self.0.revision.set(revision);
    }

    pub(super) fn restored(&self, outcome: &'static str) {
        self.0.restorations.get_or_create_owned(&[("outcome", outcome)]).inc();
    }

    pub(super) fn rolled_back(&self, outcome: &'static str) {
        self.0.rollbacks.get_or_create_owned(&[("outcome", outcome)]).inc();
    }

    pub(super) fn synced(&self, duration: Duration) {
        self.0.sync.observe(duration.as_secs_f64());
    }
}
