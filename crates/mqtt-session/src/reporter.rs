//! The status of the session, for health checks and others who watch it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use service_kit::heartbeat::{Heartbeat, Monitor};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connection_error::ConnectionError;
use crate::metrics::SessionMetrics;
use crate::options::SessionOptions;

/// Whether messages can be received and published.
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
    /// Session and subscriptions are up, but the broker does not offer or allow everything.
    Degraded {
        /// When they were up for the first time.
        since: Instant,
        /// What the broker does not offer or allow.
        reasons: Vec<String>,
    },
    /// Another process has the session; this one is ready to take it over.
    Standby,
}

impl SessionStatus {
    /// When session and subscriptions were up for the first time, if they are up.
    #[must_use]
    pub fn up_since(&self) -> Option<Instant> {
        match self {
            Self::Ready { since } | Self::Degraded { since, .. } => Some(*since),
            Self::Disconnected { .. } | Self::Standby => None,
        }
    }
}

/// Collects the status of all sessions of a process, one after the other. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter {
    status: watch::Sender<SessionStatus>,
    metrics: SessionMetrics,
    monitor: Monitor,
    /// Whether a session was up before. An atomic, because clones share it.
    was_up: Arc<AtomicBool>,
}

impl Default for Reporter {
    fn default() -> Self {
        let reason = "the broker has not been reached yet".into();
        Self {
            status: watch::Sender::new(SessionStatus::Disconnected { reason }),
            metrics: SessionMetrics::default(),
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

    /// The metrics of the sessions.
    #[must_use]
    pub fn metrics(&self) -> &SessionMetrics {
        &self.metrics
    }

    /// The liveness check of the task that runs the session, or waits for it.
    #[must_use]
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// The heartbeat for a task that starts.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.monitor.start()
    }

    /// Session and subscriptions are up, `degraded` for these reasons; `since` is when this session
    /// was up for the first time.
    pub(crate) fn up(&self, since: Instant, degraded: Vec<String>) {
        if self.status.borrow().up_since().is_none() {
            self.metrics.up(self.was_up.swap(true, Ordering::Relaxed));
        }
        self.metrics.degraded(degraded.len());
        self.status.send_replace(if degraded.is_empty() {
            SessionStatus::Ready { since }
        } else {
            SessionStatus::Degraded { since, reasons: degraded }
        });
    }

    /// Another process has the session, and is watched.
    pub fn standby(&self) {
        self.metrics.down();
        self.status.send_replace(SessionStatus::Standby);
    }

    /// A connection has failed or ended; `help` says what to do about it.
    pub fn failed(&self, options: &SessionOptions, error: &ConnectionError, help: Option<&str>) {
        self.metrics.failed();
        let hint = help.map(|help| format!("; {help}")).unwrap_or_default();
        self.down(format!("no connection to {}: {error}{hint}", options.broker()));
    }

    /// The session has ended.
    pub(crate) fn ended(&self) {
        self.down("the session has ended".into());
    }

    fn down(&self, reason: String) {
        self.metrics.down();
        self.status.send_replace(SessionStatus::Disconnected { reason });
    }
}
