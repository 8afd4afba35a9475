//! Recall handles for queued messages of each subscription.

use mqtt_session::Recall;

/// Recall handles for the messages of a subscription that the session has not sent yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Recalls {
    /// Its messages.
    pub(super) messages: Recall,
    /// Its retained record.
    pub(super) records: Recall,
}

/// What to do with the queued messages of a subscription that is replaced or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueuedMessages {
    /// Publish them before the new ones.
    Keep,
    /// Do not publish them.
    Recall,
}

impl Recalls {
    /// Returns handles for what is published from now on. Recalls a queued record, which would
    /// replace the new one at the broker.
    pub(super) fn replace(&mut self, queued: QueuedMessages) -> Self {
        self.records.recall();
        let mut new = Self::default();
        match queued {
            // The end of the subscription recalls these messages, too.
            QueuedMessages::Keep if !self.messages.is_recalled() => {
                new.messages = self.messages.clone();
            }
            QueuedMessages::Keep => {}
            QueuedMessages::Recall => self.messages.recall(),
        }
        *self = new.clone();
        new
    }

    /// Whether nothing is queued and no publisher has these handles.
    pub(super) fn are_unused(&self) -> bool {
        !self.messages.is_shared() && !self.records.is_shared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_record_recalls_the_queued_one() {
        let mut recalls = Recalls::default();
        let [first, second] = [(), ()].map(|()| recalls.replace(QueuedMessages::Recall));
        assert!(first.records.is_recalled() && first.messages.is_recalled());
        assert!(!second.records.is_recalled() && !recalls.are_unused());
        drop(second);
        assert!(recalls.are_unused());
    }

    #[test]
    fn an_end_recalls_the_messages_of_all_earlier_streams() {
        let mut recalls = Recalls::default();
        let [first, second] = [(), ()].map(|()| recalls.replace(QueuedMessages::Keep));
        assert!(first.records.is_recalled() && !first.messages.is_recalled());
        let end = recalls.replace(QueuedMessages::Recall);
        assert!(first.messages.is_recalled() && second.messages.is_recalled());
        let again = recalls.replace(QueuedMessages::Keep);
        assert!(end.records.is_recalled() && !again.messages.is_recalled());
    }
}
