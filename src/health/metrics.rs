//! `/metrics`: all metrics as OpenMetrics text, version 1.0.0.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use rustix::param::page_size;
use service_kit::clock::uptime;

/// The media type of the text.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of all parts of the connector.
#[derive(Debug)]
pub(crate) struct MetricsPage {
    registry: Registry,
}

impl MetricsPage {
    /// The metrics of the process (version, start time and memory), and those that `register`
    /// adds with the prefix `fleet_connector_`.
    #[must_use]
    pub(crate) fn new(register: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Start { uptime: uptime() }));
        registry.register_collector(Box::new(Memory));
        let own = registry.sub_registry_with_prefix("fleet_connector");
        own.register(
            "build",
            "Version of the connector",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        register(own);
        Self { registry }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

/// When the process has started.
#[derive(Debug)]
struct Start {
    /// The time from the start of the device to that of the process.
    uptime: Duration,
}

impl Start {
    /// By the system clock of `now`, which may have been set since.
    fn time(&self, now: SystemTime, uptime: Duration) -> Duration {
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        since_1970.saturating_sub(uptime.saturating_sub(self.uptime))
    }
}

impl Collector for Start {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let gauge = ConstGauge::new(self.time(SystemTime::now(), uptime()).as_secs_f64());
        let family = encoder.encode_descriptor(
            "process_start_time",
            "Start time of the process, in seconds since the Unix epoch.",
            Some(&Unit::Seconds),
            gauge.metric_type(),
        )?;
        gauge.encode(family)
    }
}

/// The memory of the process at the time of the request.
#[derive(Debug)]
struct Memory;

impl Collector for Memory {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        // Without /proc it is unknown.
        let Some(bytes) = resident() else { return Ok(()) };
        let gauge = ConstGauge::new(bytes);
        let family = encoder.encode_descriptor(
            "process_resident_memory",
            "Resident memory of the process (RSS).",
            Some(&Unit::Bytes),
            gauge.metric_type(),
        )?;
        gauge.encode(family)
    }
}

/// The resident set of this process, in bytes.
fn resident() -> Option<u64> {
    let sizes = std::fs::read_to_string("/proc/self/statm").ok()?;
    // Sizes in pages: the first is the total, the second the resident set.
    let pages: u64 = sizes.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn the_start_time_is_by_the_clock_that_is_set_now() {
        let second = Duration::from_secs(1);
        let start = Start { uptime: 30 * second };
        let year_2026 = Duration::from_secs(1_795_000_000);
        for now in [40 * second, year_2026] {
            assert_eq!(start.time(UNIX_EPOCH + now, 35 * second), now - 5 * second);
        }
        assert_eq!(start.time(UNIX_EPOCH, 35 * second), Duration::ZERO);
    }

    #[test]
    fn parts_add_metrics_to_those_of_the_process() {
        let metrics =
            MetricsPage::new(|registry| registry.register("x", "y", Counter::<u64>::default()));
        let text = metrics.text();
        for line in [
            "# UNIT process_start_time_seconds seconds",
            "# TYPE process_resident_memory_bytes gauge",
            concat!("fleet_connector_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "# HELP fleet_connector_x y.",
            "fleet_connector_x_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(resident().is_some_and(|bytes| (100_000..1_000_000_000).contains(&bytes)));
    }
}
