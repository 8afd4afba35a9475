//! Follows again what was followed before the connector or Ankaios was restarted.

use fleet_contract::revision::RevisionStatus;

use super::event::{Action, Now};
use super::state::Core;

impl Core {
    /// Follows the rollouts of an earlier process again.
    pub(super) fn resume(&mut self, now: Now, actions: &mut Vec<Action>) {
        if std::mem::replace(&mut self.resumed, true) {
            return;
        }
        self.set_confirm_deadlines(now);
        self.follow_in_progress(actions);
        self.take_failed_back(actions);
    }

    pub(super) fn follow_in_progress(&mut self, actions: &mut Vec<Action>) {
        let all = self.book.revisions.values();
        let in_progress = all.filter(|one| one.status == RevisionStatus::InProgress);
        let follows = in_progress.map(|one| Action::Follow(self.book.resumed_rollout(one)));
        actions.extend(follows.collect::<Vec<_>>());
    }

    /// Takes back what has failed before the process or Ankaios ended.
    pub(super) fn take_failed_back(&mut self, actions: &mut Vec<Action>) {
        let failed = self.book.revisions.values().filter(|one| one.has_failed_trial());
        let failed: Vec<u64> = failed.map(|one| one.revision).collect();
        failed.into_iter().for_each(|revision| self.take_back(revision, actions));
    }
}
