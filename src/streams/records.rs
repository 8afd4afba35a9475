//! What may still wait of what was published of subscriptions, and is taken back when
//! something new is published of them.

use std::collections::BTreeMap;

use super::publisher::Recalls;
use super::subscriptions::Key;
use crate::mqtt::Recall;

/// What becomes of the messages of a subscription that is replaced or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Former {
    /// They are published before the new ones.
    Kept,
    /// They are not wanted any more.
    TakenBack,
}

/// What was published last of each subscription that may have something waiting.
#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<Key, Recalls>);

impl Records {
    /// Begins with a subscription, or with its end. What was said of its record before
    /// is taken back: it would be published after what is said now.
    pub(super) fn begin(&mut self, key: Key, former: Former) -> Recalls {
        self.0
            .retain(|_, Recalls { messages, records }| messages.is_shared() || records.is_shared());
        let mut recalls = Recalls::default();
        if let Some(before) = self.0.get(&key) {
            before.records.recall();
            match former {
                // An end that comes later takes back those, too.
                Former::Kept if !before.messages.is_recalled() => {
                    recalls.messages = Recall::clone(&before.messages);
                }
                Former::Kept => {}
                Former::TakenBack => before.messages.recall(),
            }
        }
        self.0.insert(key, recalls.clone());
        recalls
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
        let [first, second, other] =
            ["x", "x", "y"].map(|id| records.begin(key(id), Former::TakenBack));
        assert!(first.records.is_recalled() && first.messages.is_recalled());
        assert!(![&second, &other].into_iter().any(|it| it.records.is_recalled()));
        // Nothing waits any more of what nobody holds.
        drop((second, other));
        records.begin(key("z"), Former::TakenBack);
        assert_eq!(records.0.len(), 1);
    }

    #[test]
    fn an_end_takes_back_the_messages_of_all_that_came_before() {
        let mut records = Records::default();
        let [first, second] = [(), ()].map(|()| records.begin(key("x"), Former::Kept));
        assert!(first.records.is_recalled() && !first.messages.is_recalled());
        let end = records.begin(key("x"), Former::TakenBack);
        assert!(first.messages.is_recalled() && second.messages.is_recalled());
        let again = records.begin(key("x"), Former::Kept);
        assert!(end.records.is_recalled() && !again.messages.is_recalled());
    }
}
