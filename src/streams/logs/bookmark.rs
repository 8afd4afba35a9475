//! How far followed logs have come.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::LogsSubscription;
use crate::mqtt::SessionEnded;
use crate::streams::publisher::Publisher;
use crate::streams::record::Record;
use crate::streams::time::format_rfc3339;

/// How often the position in followed logs is noted. So much of them may come
/// twice after a restart of the connector.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(10);

/// Notes in the retained record of followed logs how far they have come.
#[derive(Debug)]
pub(super) struct Bookmark {
    topic: String,
    record: Record<LogsSubscription>,
    publisher: Publisher,
    noted: Instant,
}

impl Bookmark {
    /// `topic` is that of the record.
    pub(super) fn new(
        topic: String,
        record: Record<LogsSubscription>,
        publisher: Publisher,
    ) -> Self {
        Self { topic, record, publisher, noted: Instant::now() }
    }

    /// Everything that had arrived at that time has been published. Not each time
    /// is noted.
    pub(super) async fn put(&mut self, arrived: SystemTime) -> Result<(), SessionEnded> {
        if self.noted.elapsed() < BOOKMARK_INTERVAL {
            return Ok(());
        }
        self.noted = Instant::now();
        self.record.resume_at = Some(format_rfc3339(arrived));
        // A subscription whose time is over is being ended.
        let Ok(remaining) = self.record.remaining() else { return Ok(()) };
        self.publisher.retain(&self.topic, &self.record, remaining).await
    }
}
