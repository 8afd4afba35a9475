//! Saves in the records how far followed logs have been delivered.

use std::time::{Duration, SystemTime};

use fleet_contract::requests::LogsRequest;
use fleet_contract::rfc3339;
use fleet_contract::topics::StreamKind;
use mqtt_session::SessionEnded;
use service_kit::backoff::Backoff;
use tokio::time::Instant;

use crate::streams::expiry::Expiry;
use crate::streams::kept_records::KeptRecords;
use crate::streams::publisher::{Publisher, to_json};
use crate::streams::record::SubscriptionRecord;

/// The first and the longest interval between updates of the record. After a restart of the
/// connector, lines of the last interval may be published twice. The first interval is short so
/// that a connector that is restarted repeatedly makes progress before the vehicle deletes the
/// lines.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The interval between updates of the record in the store, if there is one. Flash memory wears out,
/// and if the retained record is lost, publishing the lines of a minute twice does no harm.
const KEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The record of followed logs, and when their progress was last saved in it.
#[derive(Debug)]
pub(super) struct Bookmark {
    topic: String,
    record: SubscriptionRecord<LogsRequest>,
    expiry: Expiry,
    publisher: Publisher,
    kept: KeptRecords,
    kept_at: Instant,
    saved_at: Instant,
    interval: Duration,
    intervals: Backoff,
}

impl Bookmark {
    /// `topic` is that of the record.
    pub(super) fn new(
        topic: String,
        record: SubscriptionRecord<LogsRequest>,
        expiry: Expiry,
        publisher: Publisher,
        kept: KeptRecords,
    ) -> Self {
        let mut intervals = Backoff::new(INTERVALS.0, INTERVALS.1);
        let interval = intervals.next_wait();
        let now = Instant::now();
        let (kept_at, saved_at) = (now, now);
        Self { topic, record, expiry, publisher, kept, kept_at, saved_at, interval, intervals }
    }

    /// Saves that the logs have been delivered until this time, if an interval has passed since
    /// the last update.
    pub(super) async fn save(
        &mut self,
        delivered_until: Option<SystemTime>,
    ) -> Result<(), SessionEnded> {
        let is_due = self.saved_at.elapsed() >= self.interval;
        let Some(time) = delivered_until.filter(|_| is_due) else { return Ok(()) };
        self.saved_at = Instant::now();
        self.interval = self.intervals.next_wait();
        self.record.resume_at = Some(rfc3339::format(time));
        let left = self.expiry.left();
        self.record.set_end(left, SystemTime::now());
        if self.kept_at.elapsed() >= KEEP_INTERVAL {
            self.kept_at = Instant::now();
            let id = self.record.id.as_str();
            self.kept.save(StreamKind::Logs, id, to_json(&self.record)).await;
        }
        self.publisher.retain(&self.topic, &self.record, left).await
    }
}
