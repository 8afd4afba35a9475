//! The rollouts that are followed again after a restart of the connector or of Ankaios.

use fleet_contract::revision::{RevisionStatus, RollbackMode};
use fleet_contract::rollout::RolloutStatus;

use super::event::{Action, Now};
use super::job::Follow;
use super::overlay;
use super::restoration::restore_id;
use super::state::Core;
use crate::revisions::revision::Revision;

impl Core {
    /// Follows the rollouts of an earlier process again, once.
    pub(super) fn resume(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.resumed {
            return;
        }
        let current = self.book.current();
        match self.book.newest().filter(|one| is_being_restored(one)).cloned() {
            Some(restored) => {
                self.resume_up_to(current - 1, now, actions);
                actions.push(Action::Follow(self.restored_rollout(&restored)));
            }
            None => self.resume_up_to(current, now, actions),
        }
    }

    /// Follows the rollouts of revisions up to this one again: those in progress, and those whose
    /// workloads have not stayed up yet. Takes back what has failed before the process or Ankaios
    /// ended.
    pub(super) fn resume_up_to(&mut self, last: u64, now: Now, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.resumed, true) {
            let ended = self.book.revisions.values().filter_map(|one| {
                let status = one.rollout_end()?;
                Some(Action::RolloutEnded { revision: one.revision, status })
            });
            actions.extend(ended);
        }
        if self.follows() {
            self.follow_open(last, now, actions);
        }
        self.end_reverted_trials(actions);
        let failed = self.book.revisions.values().filter(|one| one.has_failed_trial());
        let failed: Vec<u64> = failed.map(|one| one.revision).collect();
        failed.into_iter().for_each(|revision| self.take_back(revision, actions));
    }

    fn follow_open(&mut self, last: u64, now: Now, actions: &mut Vec<Action>) {
        let all = self.book.revisions.range(..=last).map(|(_, one)| one);
        let open = all.filter(|one| one.is_open());
        let (superseded, followed): (Vec<_>, Vec<_>) =
            open.partition(|one| self.book.is_superseded(one));
        let superseded: Vec<u64> = superseded.into_iter().map(|one| one.revision).collect();
        let follows = followed.into_iter().map(|one| self.book.resumed_rollout(one));
        actions.extend(follows.map(Action::Follow));
        // By their names, their workloads would be those of the later revisions.
        for revision in superseded {
            self.settle(revision, RolloutStatus::Superseded, false, now, actions);
        }
    }

    /// The rollout of the current revision, after it was put back.
    fn restored_rollout(&self, revision: &Revision) -> Follow {
        Follow {
            request_id: restore_id(revision.revision),
            is_published: true,
            named: overlay::workload_names(&self.book.overlay),
            rollback: RollbackMode::Off,
            must_be_stable: true,
            ..self.book.resumed_rollout(revision)
        }
    }
}

/// Whether a revision was put back, and its rollout has not ended. While a revision is in progress,
/// its own rollout tells.
fn is_being_restored(revision: &Revision) -> bool {
    let is_followed = revision.status == RevisionStatus::InProgress;
    revision.tries > 0 && !revision.has_succeeded && !is_followed
}
