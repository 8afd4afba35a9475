//! Subscriptions that were to be ended before they were known. After a start the broker
//! delivers the requests that have waited before the records of the subscriptions.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::subscriptions::Key;

/// So long after its first use the record of a subscription may still come.
const RECORDS: Duration = Duration::from_secs(3);

/// Subscriptions that are remembered. Of more, those that were sought first are forgotten.
const MAX_SOUGHT: usize = 256;

/// Subscriptions that were to be ended, and were not there.
#[derive(Debug, Default)]
pub(super) struct Sought {
    /// When all records will have come.
    until: Option<Instant>,
    /// With those who wait for them.
    keys: VecDeque<(Key, oneshot::Sender<()>)>,
}

impl Sought {
    /// When all records will have come. The time begins with the first call.
    pub(super) fn until(&mut self) -> Instant {
        *self.until.get_or_insert_with(|| Instant::now() + RECORDS)
    }

    /// Remembers a subscription. What this returns hears when it has been found, and
    /// ended.
    pub(super) fn push(&mut self, key: Key) -> oneshot::Receiver<()> {
        let (found, is_found) = oneshot::channel();
        self.keys.push_back((key, found));
        if self.keys.len() > MAX_SOUGHT {
            self.keys.pop_front();
        }
        is_found
    }

    /// Forgets a subscription. Returns those who wait for it, or have waited.
    pub(super) fn take(&mut self, key: &Key) -> Vec<oneshot::Sender<()>> {
        let (taken, others): (VecDeque<_>, VecDeque<_>) =
            self.keys.drain(..).partition(|(sought, _)| sought == key);
        self.keys = others;
        taken.into_iter().map(|(_, found)| found).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::streams::SubscriptionId;
    use crate::topics::StreamKind;

    fn key(id: usize) -> Key {
        (StreamKind::Events, SubscriptionId::try_from(id.to_string()).unwrap())
    }

    #[test]
    fn what_was_sought_is_remembered_within_bounds() {
        let mut sought = Sought::default();
        let mut waiting: Vec<_> = (0..=MAX_SOUGHT).map(|id| sought.push(key(id))).collect();
        assert!(sought.take(&key(0)).is_empty());
        assert_eq!(waiting[0].try_recv(), Err(TryRecvError::Closed));
        let _again = sought.push(key(MAX_SOUGHT));
        assert_eq!(sought.take(&key(MAX_SOUGHT)).len(), 2);
        assert!(sought.take(&key(MAX_SOUGHT)).is_empty());
    }
}
