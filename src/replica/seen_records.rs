//! The records of subscriptions and rollouts that a standby replica has seen.
//!
//! They are retained messages, and the next active replica resumes what they say. But a cluster of
//! brokers may keep a retained message on the node where it was published, or find none for a filter
//! with a wildcard. So a standby watches the records as they are published, and asks the active
//! replica to publish them again when it begins.

use std::collections::BTreeMap;

use bytes::Bytes;
use mqtt_session::Watched;
use service_kit::clock::Deadline;

/// Maximum number of records.
const MAX_RECORDS: usize = 1024;

/// Maximum size of all records, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A record.
#[derive(Debug, Clone)]
pub(crate) struct SeenRecord {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// When it expires at the broker.
    pub(crate) expires: Option<Deadline>,
}

/// The last record of each topic, within limits.
#[derive(Debug, Default)]
pub(crate) struct SeenRecords {
    records: BTreeMap<String, SeenRecord>,
    bytes: usize,
    has_warned: bool,
}

impl SeenRecords {
    /// Takes a record that was published or, if it has no payload, removed.
    pub(super) fn saw(&mut self, message: Watched) {
        let Watched { topic, payload, expires_in, .. } = message;
        self.insert(topic, payload, expires_in.map(Deadline::after));
    }

    /// The same for a record that expires at the broker then.
    pub(super) fn insert(&mut self, topic: String, payload: Bytes, expires: Option<Deadline>) {
        if let Some(former) = self.records.remove(&topic) {
            self.bytes -= former.payload.len();
        }
        if payload.is_empty() {
            return;
        }
        if self.records.len() >= MAX_RECORDS || self.bytes + payload.len() > MAX_BYTES {
            if !self.has_warned {
                self.has_warned = true;
                tracing::warn!(
                    topic = fleet_contract::topics::short(&topic),
                    "there are more records of subscriptions and rollouts than a standby keeps: \
                     when this replica takes over, it resumes the others only if the broker has \
                     retained them"
                );
            }
            return;
        }
        self.bytes += payload.len();
        self.records.insert(topic.clone(), SeenRecord { topic, payload, expires });
    }

    /// Those that have not expired.
    pub(crate) fn into_current(self) -> impl Iterator<Item = SeenRecord> {
        let records = self.records.into_values();
        records.filter(|record| record.expires.is_none_or(|end| !end.left().is_zero()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn record(topic: &str, payload: impl Into<Bytes>, expires_in: Option<u64>) -> Watched {
        let expires_in = expires_in.map(Duration::from_secs);
        Watched { topic: topic.to_owned(), payload: payload.into(), retained: false, expires_in }
    }

    fn current(records: SeenRecords) -> Vec<(String, Bytes)> {
        records.into_current().map(|record| (record.topic, record.payload)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_record_of_each_topic_is_kept_until_it_is_removed_or_expires() {
        let mut records = SeenRecords::default();
        for message in [
            record("a", "1", None),
            record("b", "1", None),
            record("c", "1", Some(10)),
            record("d", "1", Some(60)),
            record("a", "2", None),
            record("b", "", None),
        ] {
            records.saw(message);
        }
        assert_eq!(records.bytes, 3);
        advance(Duration::from_secs(10)).await;
        assert_eq!(current(records), [("a".to_owned(), "2".into()), ("d".to_owned(), "1".into())]);
    }

    #[tokio::test]
    async fn there_are_limits() {
        let mut records = SeenRecords::default();
        for number in 0..MAX_RECORDS + 5 {
            records.saw(record(&format!("{number:04}"), "x", None));
        }
        assert_eq!((records.records.len(), records.bytes), (MAX_RECORDS, MAX_RECORDS));
        records.saw(record("0000", "", None));
        records.saw(record("new", "x", None));
        assert!(records.records.contains_key("new"));
        let mut records = SeenRecords::default();
        for number in 0..10 {
            records.saw(record(&number.to_string(), vec![b'x'; 1024 * 1024], None));
        }
        assert_eq!((records.records.len(), records.bytes), (4, MAX_BYTES));
        // A record that becomes too large is not kept as it was.
        records.saw(record("0", vec![b'x'; 1024 * 1024 + 1], None));
        assert_eq!(records.records.len(), 3);
    }
}
