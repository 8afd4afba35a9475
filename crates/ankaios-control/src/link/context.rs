//! What the link and its sessions share.

use std::sync::Arc;
use std::time::Duration;

use service_kit::heartbeat::Heartbeat;
use tokio::sync::watch;

use crate::metrics::LinkMetrics;
use crate::pending::Pending;
use crate::status::LinkStatus;

/// Time between checks for missing FIFOs or an agent.
pub(super) const OPEN_INTERVAL: Duration = Duration::from_millis(50);

/// State that lives as long as the link, over all sessions.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) request_timeout: Duration,
    pub(super) pending: Arc<Pending>,
    pub(super) status: watch::Sender<LinkStatus>,
    pub(super) metrics: LinkMetrics,
    pub(super) heartbeat: Heartbeat,
}

impl Context {
    pub(super) fn new(request_timeout: Duration) -> Self {
        let reason = "the control interface has not been opened yet".into();
        let status = watch::Sender::new(LinkStatus::Disconnected { reason });
        let metrics = LinkMetrics::new(status.borrow().state());
        let heartbeat = Heartbeat::unmonitored();
        Self { request_timeout, pending: Arc::new(Pending::new()), status, metrics, heartbeat }
    }

    /// Records that the agent answers nothing, not even probes, or does not read.
    pub(super) fn set_unresponsive(&self) {
        self.pending.mark_unresponsive();
        self.set_disconnected(
            "the agent does not answer; Ankaios' server may be down or restarting".into(),
        );
    }

    /// Sets the status, unless the agent has closed the session: its reason says more than
    /// what follows from it, and is kept until an agent answers again.
    pub(super) fn set_disconnected(&self, reason: String) {
        if matches!(*self.status.borrow(), LinkStatus::Closed { .. }) {
            return;
        }
        self.set_status(LinkStatus::Disconnected { reason });
    }

    pub(super) fn set_status(&self, status: LinkStatus) {
        self.status.send_if_modified(|present| {
            if *present == status {
                return false;
            }
            match &status {
                LinkStatus::Connected => tracing::info!("the link to Ankaios is up"),
                LinkStatus::Disconnected { reason } => {
                    tracing::warn!(reason, "no link to Ankaios");
                }
                LinkStatus::Closed { reason } => {
                    tracing::error!(reason, "Ankaios has closed the control interface");
                }
            }
            self.metrics.set_state(status.state());
            *present = status;
            true
        });
    }
}
