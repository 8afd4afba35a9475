//! Messages that the broker does not take now, but may take later.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::PubAckReason;
use tokio::time::Instant;

/// How often a message that the broker has not taken is published again. Each message
/// counts for itself: the broker may take all others, and never this one.
pub(super) const MAX_REFUSALS: u32 = 10;

/// How long the broker is left alone.
const LENGTH: Duration = Duration::from_secs(1);

/// Whether the same message may be taken later (MQTT 5, 3.4.2.1).
pub(super) fn is_transient(reason: PubAckReason) -> bool {
    matches!(
        reason,
        PubAckReason::UnspecifiedError
            | PubAckReason::ImplementationSpecificError
            | PubAckReason::QuotaExceeded
    )
}

/// A time in which nothing is published, because the broker has not taken a message
/// that it may take later. That it takes another one that was sent before does not end it.
#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Option<Instant>,
}

impl Pause {
    /// Begins one, for all messages that are not taken before it is over.
    pub(super) fn begin(&mut self) {
        self.until.get_or_insert_with(|| Instant::now() + LENGTH);
    }

    pub(super) fn is_running(&self) -> bool {
        self.until.is_some()
    }

    pub(super) fn until(&self) -> Instant {
        self.until.unwrap_or_else(Instant::now)
    }

    pub(super) fn end(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_does_not_become_longer_by_what_is_refused_meanwhile() {
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
