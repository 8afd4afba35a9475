//! The records of subscriptions and rollouts that a standby replica has seen.
//!
//! They are retained messages, and the next active replica resumes what they say. But a cluster of
//! brokers may keep a retained message on the node where it was published, or find none for a filter
//! with a wildcard. So a standby watches the records as they are published, and asks each new active
//! replica to publish all of them again. Until that one has answered, what was seen before is better
//! than nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use mqtt_session::Watched;
use service_kit::clock::Deadline;

/// Maximum size of all records with their topics, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// What a record needs besides its topic and its payload, in bytes.
const OVERHEAD: usize = 256;

/// A record.
#[derive(Debug, Clone)]
pub(crate) struct SeenRecord {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// When it expires at the broker.
    pub(crate) expires: Option<Deadline>,
}

/// What is kept of a record.
#[derive(Debug, Clone)]
struct Entry {
    payload: Bytes,
    expires: Option<Deadline>,
    /// It was seen before the active replica was asked.
    is_old: bool,
}

/// The last record of each topic, within limits.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenRecords {
    records: BTreeMap<String, Entry>,
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
        self.remove(&topic);
        if payload.is_empty() {
            return;
        }
        let size = size(&topic, &payload);
        if self.bytes + size > MAX_BYTES {
            self.retain(|entry| !entry.is_over());
        }
        if self.bytes + size > MAX_BYTES {
            if !self.has_warned {
                self.has_warned = true;
                tracing::warn!(
                    topic = fleet_contract::topics::short(&topic),
                    "there are more records of subscriptions and rollouts than a standby keeps"
                );
            }
            return;
        }
        self.bytes += size;
        self.records.insert(topic, Entry { payload, expires, is_old: false });
    }

    /// The active replica is asked to publish its records.
    pub(super) fn asked(&mut self) {
        self.records.values_mut().for_each(|entry| entry.is_old = true);
    }

    /// It has answered: it has none but those that were seen since it was asked.
    pub(super) fn answered(&mut self) {
        self.retain(|entry| !entry.is_old);
    }

    /// The number of records.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Those that have not expired.
    pub(crate) fn into_current(self) -> impl Iterator<Item = SeenRecord> {
        let records = self.records.into_iter().filter(|(_, entry)| !entry.is_over());
        records.map(|(topic, Entry { payload, expires, .. })| SeenRecord {
            topic,
            payload,
            expires,
        })
    }

    fn remove(&mut self, topic: &str) {
        if let Some(entry) = self.records.remove(topic) {
            self.bytes -= size(topic, &entry.payload);
        }
    }

    fn retain(&mut self, keeps: impl Fn(&Entry) -> bool) {
        self.records.retain(|_, entry| keeps(entry));
        let sizes = self.records.iter().map(|(topic, entry)| size(topic, &entry.payload));
        self.bytes = sizes.sum();
    }
}

impl Entry {
    fn is_over(&self) -> bool {
        self.expires.is_some_and(|end| end.left().is_zero())
    }
}

fn size(topic: &str, payload: &Bytes) -> usize {
    topic.len() + payload.len() + OVERHEAD
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
        assert_eq!(records.bytes, 3 * (2 + OVERHEAD));
        advance(Duration::from_secs(10)).await;
        assert_eq!(current(records), [("a".to_owned(), "2".into()), ("d".to_owned(), "1".into())]);
    }

    #[test]
    fn what_the_active_replica_does_not_repeat_is_kept_until_it_has_answered() {
        let mut records = SeenRecords::default();
        ["a", "b"].into_iter().for_each(|topic| records.saw(record(topic, "1", None)));
        records.asked();
        records.saw(record("b", "2", None));
        let before = [("a".to_owned(), "1".into()), ("b".to_owned(), "2".into())];
        assert_eq!(current(records.clone()), before);
        records.answered();
        records.saw(record("c", "1", None));
        let after = [("b".to_owned(), "2".into()), ("c".to_owned(), "1".into())];
        assert_eq!(current(records), after);
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_limit_for_records_and_topics_and_those_that_have_expired_make_room() {
        let mut records = SeenRecords::default();
        let large = || vec![b'x'; 1024 * 1024 - 2 * OVERHEAD];
        for number in 0..10 {
            records.saw(record(&number.to_string(), large(), Some(number + 1)));
        }
        assert_eq!(records.records.len(), 4);
        records.saw(record(&"t".repeat(60_000), "x", None));
        assert_eq!(records.records.len(), 4, "a topic counts, too");
        // A record that becomes too large is not kept as it was.
        records.saw(record("3", vec![b'x'; 1024 * 1024 + 4 * OVERHEAD], None));
        assert_eq!(records.records.len(), 3);
        advance(Duration::from_secs(4)).await;
        for topic in ["x", "y"] {
            records.saw(record(topic, large(), None));
        }
        assert_eq!(records.records.keys().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(records.bytes, 2 * (1 + large().len() + OVERHEAD));
    }
}
