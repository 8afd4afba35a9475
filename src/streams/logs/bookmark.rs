//! How far followed logs have come.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::LogsSubscription;
use crate::mqtt::SessionEnded;
use crate::streams::publisher::Publisher;
use crate::streams::record::Record;
use crate::streams::time::format_rfc3339;

/// When the position in followed logs is noted first, and how often later. So much of
/// them may come twice after a restart of the connector. One that is restarted again
/// and again must get on, too, before the vehicle has no more of the log.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Notes in the retained record of followed logs how far they have come.
#[derive(Debug)]
pub(super) struct Bookmark {
    topic: String,
    record: Record<LogsSubscription>,
    publisher: Publisher,
    noted: Instant,
    interval: Duration,
}

impl Bookmark {
    /// `topic` is that of the record.
    pub(super) fn new(
        topic: String,
        record: Record<LogsSubscription>,
        publisher: Publisher,
    ) -> Self {
        Self { topic, record, publisher, noted: Instant::now(), interval: INTERVALS.0 }
    }

    /// Everything that was written before that time has been published. Not each
    /// time is noted.
    pub(super) async fn put(&mut self, reached: Option<SystemTime>) -> Result<(), SessionEnded> {
        let Some(reached) = reached.filter(|_| self.noted.elapsed() >= self.interval) else {
            return Ok(());
        };
        self.noted = Instant::now();
        self.interval = (self.interval * 2).min(INTERVALS.1);
        self.record.resume_at = Some(format_rfc3339(reached));
        // A subscription whose time is over is being ended.
        let Ok(remaining) = self.record.remaining() else { return Ok(()) };
        self.publisher.retain(&self.topic, &self.record, remaining).await
    }
}
