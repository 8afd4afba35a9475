//! Retained messages: when all of them have come, and how many are kept until somebody needs them.

use std::time::Duration;

use mqtt_session::Delivered;
use tokio::time::Instant;

/// After so long without another retained message, all of them have come.
const QUIET: Duration = Duration::from_millis(400);

/// The longest time for retained messages.
const MAX_TIME: Duration = Duration::from_secs(20);

/// Maximum size in bytes of the messages that are kept: those of 100,000 subscriptions.
const MAX_SIZE: usize = 64 * 1024 * 1024;

/// What a message needs besides its topic and payload, in bytes.
const OVERHEAD: usize = 256;

/// Decides when all retained messages have come: the broker does not say so.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The end of the longest time.
    end: Instant,
    quiet_at: Instant,
}

impl Arrival {
    /// The subscription was made at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self { end: now + MAX_TIME, quiet_at: now + QUIET }
    }

    /// One has come.
    pub(crate) fn message(&mut self, now: Instant) {
        self.quiet_at = now + QUIET;
    }

    /// When all have come, unless another one comes before.
    pub(crate) fn until(&self) -> Instant {
        self.quiet_at.min(self.end)
    }
}

/// Messages that are kept, up to a size.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    messages: Vec<Delivered>,
    size: usize,
}

impl Kept {
    /// Keeps a message. Returns false if there is no room for it.
    pub(crate) fn keep(&mut self, message: Delivered) -> bool {
        let size = self.size + message.topic.len() + message.payload.len() + OVERHEAD;
        let has_room = size <= MAX_SIZE;
        if has_room {
            self.size = size;
            self.messages.push(message);
        }
        has_room
    }

    /// Takes all of them.
    pub(crate) fn take(&mut self) -> Vec<Delivered> {
        std::mem::take(self).messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retained_messages_end_with_a_pause_or_after_a_time() {
        let start = Instant::now();
        let mut arrival = Arrival::new(start);
        assert_eq!(arrival.until(), start + QUIET);
        let mut now = start;
        // Somebody may publish all the time.
        while now < arrival.until() {
            arrival.message(now);
            now += QUIET / 2;
        }
        assert_eq!(arrival.until(), start + MAX_TIME);
    }

    #[test]
    fn messages_are_kept_up_to_a_size() {
        let message = |size: usize| Delivered {
            topic: "vehicle/A1/logs/x/subscription".to_owned(),
            payload: vec![0; size].into(),
            retained: true,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        let mut kept = Kept::default();
        assert!(kept.keep(message(MAX_SIZE / 2)));
        assert!(!kept.keep(message(MAX_SIZE / 2)));
        assert!(kept.keep(message(10)));
        assert_eq!(kept.take().len(), 2);
        assert!(kept.keep(message(MAX_SIZE / 2)));
    }
}
