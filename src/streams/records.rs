//! What is to be published about a subscription itself: its record and its end. What is
//! new takes back what is old, which may still wait and would be published after it.

use std::collections::BTreeMap;

use super::subscriptions::Key;
use crate::mqtt::Recall;

/// The latest word on each subscription that may still wait.
#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<Key, Recall>);

impl Records {
    /// Begins a new one, and takes back the former.
    pub(super) fn begin(&mut self, key: Key) -> Recall {
        self.0.retain(|_, recall| recall.is_shared());
        let recall = Recall::default();
        if let Some(former) = self.0.insert(key, recall.clone()) {
            former.recall();
        }
        recall
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::streams::SubscriptionId;
    use crate::topics::StreamKind;

    fn key(id: &str) -> Key {
        (StreamKind::Logs, SubscriptionId::try_from(id.to_owned()).unwrap())
    }

    #[test]
    fn the_latest_word_takes_back_the_one_before() {
        let mut records = Records::default();
        let [first, second, other] = ["x", "x", "y"].map(|id| records.begin(key(id)));
        assert!(first.is_recalled());
        assert!(!second.is_recalled() && !other.is_recalled());
        // Nothing waits any more of what nobody holds.
        drop((second, other));
        records.begin(key("z"));
        assert_eq!(records.0.len(), 1);
    }
}
