//! Recall handles for queued messages of each subscription.

use mqtt_session::Recall;

/// Takes back what a subscription has published and the session has not sent yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Recalls {
    /// Its messages.
    pub(super) messages: Recall,
    /// Its retained record.
    pub(super) records: Recall,
}

/// What becomes of the queued messages of a subscription that is replaced or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    /// They are published before the new ones.
    Kept,
    /// They are not published.
    Recalled,
}

impl Recalls {
    /// Handles for what is published from now on. A queued record is taken back: it would be
    /// published after the new one.
    pub(super) fn replace(&mut self, queued: Queued) -> Self {
        self.records.recall();
        let mut new = Self::default();
        match queued {
            // A later end takes back these, too.
            Queued::Kept if !self.messages.is_recalled() => {
                new.messages = self.messages.clone();
            }
            Queued::Kept => {}
            Queued::Recalled => self.messages.recall(),
        }
        *self = new.clone();
        new
    }

    /// Whether nothing is queued and nobody publishes with these handles.
    pub(super) fn are_unused(&self) -> bool {
        !self.messages.is_shared() && !self.records.is_shared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_record_takes_back_the_queued_one() {
        let mut recalls = Recalls::default();
        let [first, second] = [(), ()].map(|()| recalls.replace(Queued::Recalled));
        assert!(first.records.is_recalled() && first.messages.is_recalled());
        assert!(!second.records.is_recalled() && !recalls.are_unused());
        drop(second);
        assert!(recalls.are_unused());
    }

    #[test]
    fn an_end_takes_back_the_messages_of_all_that_came_before() {
        let mut recalls = Recalls::default();
        let [first, second] = [(), ()].map(|()| recalls.replace(Queued::Kept));
        assert!(first.records.is_recalled() && !first.messages.is_recalled());
        let end = recalls.replace(Queued::Recalled);
        assert!(first.messages.is_recalled() && second.messages.is_recalled());
        let again = recalls.replace(Queued::Kept);
        assert!(end.records.is_recalled() && !again.messages.is_recalled());
    }
}
