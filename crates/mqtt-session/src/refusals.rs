//! Messages that the broker refuses now and may accept later.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::PubAckReason;
use tokio::time::Instant;

/// How often a message that the broker refuses is published again. This is counted for each
/// message: the broker may accept all others, and never this one.
pub(crate) const MAX_REFUSALS: u32 = 10;

/// How long nothing is published after a refusal.
const LENGTH: Duration = Duration::from_secs(1);

/// Whether the same message may be accepted later (MQTT 5, 3.4.2.1).
pub(crate) fn is_transient(reason: PubAckReason) -> bool {
    matches!(
        reason,
        PubAckReason::UnspecifiedError
            | PubAckReason::ImplementationSpecificError
            | PubAckReason::QuotaExceeded
    )
}

/// A time in which nothing is published, because the broker has refused a message that it may
/// accept later. It does not end when the broker accepts a message that was sent before.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    until: Option<Instant>,
}

impl Pause {
    /// Begins a pause; refusals during it do not make it longer.
    pub(crate) fn begin(&mut self) {
        self.until.get_or_insert_with(|| Instant::now() + LENGTH);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.until.is_some()
    }

    pub(crate) fn until(&self) -> Instant {
        self.until.unwrap_or_else(Instant::now)
    }

    pub(crate) fn end(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_does_not_become_longer_by_refusals_during_it() {
        let mut pause = Pause::default();
        assert!(!pause.is_running());
        pause.begin();
        let until = pause.until();
        advance(LENGTH / 2).await;
        pause.begin();
        assert!(pause.is_running() && pause.until() == until);
        pause.end();
        pause.begin();
        assert_eq!(pause.until(), until + LENGTH / 2);
    }
}
