//! How the session fares, for those who watch it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

use super::connect::Options;
use super::connection_error::ConnectionError;
use super::metrics::Metrics;
use crate::progress::{Monitor, Progress};

/// Whether requests can come and replies can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionStatus {
    /// There is no connection to the broker, or no subscription yet.
    Disconnected {
        /// Why, and what helps where that is known.
        reason: String,
    },
    /// Session and subscriptions are up.
    Ready {
        /// When they were up for the first time.
        since: Instant,
    },
    /// This replica watches another one, and is ready to take its place.
    Standby,
}

/// Where all sessions of a process tell how they fare. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter {
    status: watch::Sender<SessionStatus>,
    metrics: Metrics,
    monitor: Monitor,
    /// A session was up before.
    was_up: Arc<AtomicBool>,
}

impl Default for Reporter {
    fn default() -> Self {
        let reason = "the broker has not been reached yet".into();
        Self {
            status: watch::Sender::new(SessionStatus::Disconnected { reason }),
            metrics: Metrics::default(),
            monitor: Monitor::new("the MQTT session"),
            was_up: Arc::default(),
        }
    }
}

impl Reporter {
    /// The status of the session, to be watched.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<SessionStatus> {
        self.status.subscribe()
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Asks whether the session gets on.
    #[must_use]
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    pub(super) fn begin(&self) -> Progress {
        self.monitor.begin()
    }

    /// Session and subscriptions are up, for the first time `since` then.
    pub(super) fn up(&self, since: Instant) {
        self.metrics.up(self.was_up.swap(true, Ordering::Relaxed));
        self.status.send_replace(SessionStatus::Ready { since });
    }

    /// Another connector has the session, and can be watched.
    pub(super) fn standby(&self) {
        self.metrics.down();
        self.status.send_replace(SessionStatus::Standby);
    }

    /// A connection has failed or ended.
    pub(super) fn failed(&self, options: &Options, error: &ConnectionError, help: Option<&str>) {
        self.metrics.failed();
        let hint = help.map(|help| format!("; {help}")).unwrap_or_default();
        let Options { host, port, .. } = options;
        self.down(format!("no connection to {host}:{port}: {error}{hint}"));
    }

    /// The session has ended.
    pub(super) fn ended(&self) {
        self.down("the session has ended".into());
    }

    fn down(&self, reason: String) {
        self.metrics.down();
        self.status.send_replace(SessionStatus::Disconnected { reason });
    }
}
