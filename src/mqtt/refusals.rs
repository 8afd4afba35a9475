//! Messages that the broker does not take now, but may take later.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::PubAckReason;
use tokio::time::Instant;

/// How long to wait before a message that the broker has not taken is published
/// again, and how often in a row.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);
const MAX_REFUSALS: u32 = 10;

/// Whether the same message may be taken later (MQTT 5, 3.4.2.1).
pub(super) fn is_transient(reason: PubAckReason) -> bool {
    matches!(
        reason,
        PubAckReason::UnspecifiedError
            | PubAckReason::ImplementationSpecificError
            | PubAckReason::QuotaExceeded
    )
}

/// How many pauses there were in a row because the broker has not taken a message
/// that it may take later.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    count: u32,
    /// Nothing is published until then.
    until: Option<Instant>,
}

impl Refusals {
    /// Makes a pause, one for all that were not taken before it is over.
    pub(super) fn pause(&mut self) {
        if self.until.is_none() {
            self.count += 1;
            self.until = Some(Instant::now() + REFUSAL_PAUSE);
        }
    }

    pub(super) fn is_pause(&self) -> bool {
        self.until.is_some()
    }

    pub(super) fn until(&self) -> Instant {
        self.until.unwrap_or_else(Instant::now)
    }

    pub(super) fn resume(&mut self) {
        self.until = None;
    }

    /// Whether there were so many that a message is given up.
    pub(super) fn are_enough(&self) -> bool {
        self.count >= MAX_REFUSALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pauses_are_counted_and_not_refusals() {
        let mut refusals = Refusals::default();
        for count in 1..=MAX_REFUSALS {
            assert!(!refusals.are_enough());
            refusals.pause();
            refusals.pause();
            assert!(refusals.is_pause() && refusals.count == count);
            refusals.resume();
        }
        assert!(refusals.are_enough());
    }
}
