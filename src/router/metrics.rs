//! Metrics of requests.

use std::sync::Arc;
use std::time::Duration;

use fleet_contract::error::ErrorCode;
use fleet_contract::operation::Operation;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the histogram's buckets, in seconds. Ankaios answers within about a
/// millisecond; waiting for a workload takes up to ten minutes.
const BUCKETS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// The label of requests for operations that do not exist.
const UNKNOWN: &str = "unknown";

type RequestCounters = Family<[(&'static str, &'static str); 2], Counter>;
type DurationHistograms = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// The metrics of requests. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RequestMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: RequestCounters,
    durations: DurationHistograms,
    operations: [OperationMetrics; Operation::ALL.len()],
    unknown: OperationMetrics,
}

/// The metrics of one operation. They are looked up once, so that counting a request is a few
/// additions.
#[derive(Debug)]
struct OperationMetrics {
    ok: Counter,
    errors: [Counter; ErrorCode::ALL.len()],
    duration: Histogram,
}

impl OperationMetrics {
    fn new(
        operation: &'static str,
        requests: &RequestCounters,
        durations: &DurationHistograms,
    ) -> Self {
        let operation = ("operation", operation);
        let counter = |outcome| requests.get_or_create_owned(&[operation, ("outcome", outcome)]);
        Self {
            ok: counter("ok"),
            errors: ErrorCode::ALL.map(|code| counter(code.name())),
            duration: durations.get_or_create_owned(&[operation]),
        }
    }
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let requests = Family::default();
        let durations: DurationHistograms =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let new = |operation| OperationMetrics::new(operation, &requests, &durations);
        let operations = Operation::ALL.map(|operation| new(operation.name()));
        let unknown = new(UNKNOWN);
        Self(Arc::new(Inner { operations, unknown, requests, durations }))
    }
}

impl RequestMetrics {
    /// Adds the metrics to a registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "requests",
            "Answered requests, by operation and outcome: ok or the error code",
            self.0.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Time from accepting a request to its reply, by operation",
            Unit::Seconds,
            self.0.durations.clone(),
        );
    }

    /// Counts a reply. `error` is the code of an error reply; `operation` is `None` if there is
    /// no such operation.
    pub(super) fn replied(
        &self,
        operation: Option<Operation>,
        error: Option<ErrorCode>,
        took: Duration,
    ) {
        let known = operation.and_then(|operation| self.0.operations.get(operation as usize));
        let counters = known.unwrap_or(&self.0.unknown);
        let outcome = error.and_then(|code| counters.errors.get(code as usize));
        outcome.unwrap_or(&counters.ok).inc();
        counters.duration.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn each_operation_and_outcome_is_counted_separately() {
        let metrics = RequestMetrics::default();
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            metrics.replied(Some(operation), None, Duration::from_millis(3));
            for (number, code) in ErrorCode::ALL.into_iter().enumerate() {
                (0..=index + number).for_each(|_| {
                    metrics.replied(Some(operation), Some(code), Duration::from_millis(3));
                });
            }
        }
        metrics.replied(None, Some(ErrorCode::NotFound), Duration::from_secs(100));
        let count = |operation: &'static str, outcome: &'static str| {
            let labels = [("operation", operation), ("outcome", outcome)];
            metrics.0.requests.get_or_create_owned(&labels).get()
        };
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(count(operation.name(), "ok"), 1);
            for (number, code) in ErrorCode::ALL.into_iter().enumerate() {
                let expected = (index + number + 1) as u64;
                assert_eq!(count(operation.name(), code.name()), expected);
            }
        }
        assert_eq!((count(UNKNOWN, "ok"), count(UNKNOWN, "not_found")), (0, 1));
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("request_duration_seconds_bucket{le=\"60.0\",operation=\"unknown\"} 0")
        );
        assert!(text.contains("request_duration_seconds_count{operation=\"unknown\"} 1"));
        // There are no series other than those that exist from the start.
        let series = (Operation::ALL.len() + 1) * (ErrorCode::ALL.len() + 1);
        assert_eq!(text.matches("requests_total{").count(), series);
    }
}
