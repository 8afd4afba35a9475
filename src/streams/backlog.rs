//! Subscriptions of a former process for which there is no place. They are taken up in
//! their order, as places become free.

use std::collections::VecDeque;

use bytes::Bytes;

use super::subscriptions::Key;

/// Records that wait.
const MAX_RECORDS: usize = 256;

/// Bytes of all of them.
const MAX_BYTES: usize = 1024 * 1024;

/// Records that wait for a place.
#[derive(Debug, Default)]
pub(super) struct Backlog(VecDeque<(Key, Bytes)>);

impl Backlog {
    /// Adds a record behind the others. `false`: there is no room for it either.
    pub(super) fn push(&mut self, key: Key, record: Bytes) -> bool {
        self.take(&key);
        let bytes: usize = self.0.iter().map(|(_, record)| record.len()).sum();
        if self.0.len() >= MAX_RECORDS || bytes + record.len() > MAX_BYTES {
            return false;
        }
        self.0.push_back((key, record));
        true
    }

    /// The record that has waited longest.
    pub(super) fn pop(&mut self) -> Option<(Key, Bytes)> {
        self.0.pop_front()
    }

    /// Whether the record of a subscription has waited; it does no longer.
    pub(super) fn take(&mut self, key: &Key) -> bool {
        let before = self.0.len();
        self.0.retain(|(waiting, _)| waiting != key);
        self.0.len() < before
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::streams::SubscriptionId;
    use crate::topics::StreamKind;

    fn key(id: usize) -> Key {
        (StreamKind::Events, SubscriptionId::try_from(id.to_string()).unwrap())
    }

    #[test]
    fn records_wait_in_order_and_in_bounds() {
        let mut backlog = Backlog::default();
        let record = Bytes::from_static(b"{}");
        let taken = (0..1000).filter(|id| backlog.push(key(*id), record.clone())).count();
        assert_eq!(taken, MAX_RECORDS);
        assert!(backlog.take(&key(0)));
        assert!(!backlog.take(&key(0)));
        assert_eq!(backlog.pop().unwrap().0, key(1));
        let large = Bytes::from(vec![b' '; MAX_BYTES / 4]);
        let taken = (0..10).filter(|id| backlog.push(key(2000 + id), large.clone())).count();
        assert_eq!(taken, 2, "so many places are left");
    }
}
