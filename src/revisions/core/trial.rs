//! Trials: how a revision ends, and whether it is taken back without a request.

use fleet_contract::revision::{RevisionStatus, RollbackMode};
use fleet_contract::rfc3339;
use fleet_contract::rollout::RolloutStatus;

use super::event::{Action, Now, SendError};
use super::job::{Answer, Failure, Job, Queued};
use super::state::{Core, RETRY, STORE_RETRY, refuse};
use crate::revisions::store::StoreChange;

impl Core {
    /// Records the end of a rollout, and takes the revision back if it has to be.
    pub(super) fn settle(
        &mut self,
        number: u64,
        end: RolloutStatus,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let confirm_timeout = self.options.confirm_timeout.unwrap_or_default();
        let Some(revision) = self.book.revisions.get_mut(&number) else { return };
        let before = revision.clone();
        let in_progress = revision.status == RevisionStatus::InProgress;
        let on_trial = revision.is_on_trial();
        match end {
            RolloutStatus::Succeeded => {
                revision.has_succeeded = true;
                revision.tries = 0;
                if in_progress && revision.rollback == RollbackMode::UnlessConfirmed {
                    revision.status = RevisionStatus::Unconfirmed;
                    let confirm_by = now.wall + confirm_timeout;
                    revision.confirm_by = Some(rfc3339::format(confirm_by));
                    self.confirm_by.insert(number, now.monotonic + confirm_timeout);
                } else if in_progress {
                    revision.status = RevisionStatus::Succeeded;
                }
            }
            RolloutStatus::Failed | RolloutStatus::TimedOut if in_progress || on_trial => {
                revision.status = match end {
                    RolloutStatus::Failed => RevisionStatus::Failed,
                    _ => RevisionStatus::TimedOut,
                };
                revision.confirm_by = None;
                self.confirm_by.remove(&number);
            }
            RolloutStatus::Superseded if in_progress => {
                revision.status = RevisionStatus::Superseded;
            }
            _ => {}
        }
        let revision = revision.clone();
        let failed = matches!(end, RolloutStatus::Failed | RolloutStatus::TimedOut);
        // A later change of the same workloads ends the attempt to take a revision back, too.
        let reverted = revision.reverts.filter(|_| revision.is_automatic());
        if let Some(reverted) = reverted.filter(|_| in_progress) {
            let result = if failed {
                Err(format!("the rollout of revision {number}, which takes it back, has failed"))
            } else {
                Ok(())
            };
            self.taken_back(reverted, result, actions);
        }
        if failed && on_trial {
            self.take_back(number, actions);
        }
        if revision == before {
            return;
        }
        let change = StoreChange::Status(revision);
        if end == RolloutStatus::Succeeded && !on_trial && reverted.is_none() {
            self.save_soon(change, now);
        } else {
            self.record_status(change, actions);
        }
    }

    /// Queues the rollback of a revision.
    pub(super) fn take_back(&mut self, revision: u64, actions: &mut Vec<Action>) {
        if self.is_taken_back(revision) {
            return;
        }
        if let Some(one) = self.book.revisions.get(&revision) {
            let request_id = one.request_id.clone();
            actions.push(Action::RollingBack { revision, request_id });
        }
        self.queue.push_back(Queued::internal(Job::TakeBack { revision }));
    }

    /// The rollback of a revision is over.
    pub(super) fn taken_back(
        &mut self,
        number: u64,
        result: Result<(), String>,
        actions: &mut Vec<Action>,
    ) {
        let outcome = match &result {
            Ok(()) => "succeeded",
            Err(reason) => {
                tracing::error!(revision = number, reason, "a rollback has failed");
                "failed"
            }
        };
        actions.push(Action::CountRollback { outcome });
        let mut request_id = String::new();
        if let Some(revision) = self.book.revisions.get_mut(&number) {
            request_id.clone_from(&revision.request_id);
            if result.is_ok() {
                revision.status = RevisionStatus::RolledBack;
            }
            // The trial is over.
            revision.rollback = RollbackMode::Off;
            revision.confirm_by = None;
            let change = StoreChange::Status(revision.clone());
            self.record_status(change, actions);
        }
        actions.push(Action::RolledBack { revision: number, request_id, result });
    }

    /// Keeps a revision that waits for its confirmation.
    pub(super) fn confirm(
        &mut self,
        queued: Queued,
        number: u64,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if let Err(failure) = self.book.kept(number) {
            return self.fail(queued, failure, now, actions);
        }
        if self.is_taken_back(number) {
            let reason = format!("revision {number} cannot be confirmed: it is rolled back");
            return self.fail(queued, Failure::Rejected(reason), now, actions);
        }
        let Some(revision) = self.book.revisions.get_mut(&number) else {
            let reason = "revision 0 is the startup manifest, which needs no confirmation".into();
            return self.fail(queued, Failure::Rejected(reason), now, actions);
        };
        match revision.status {
            RevisionStatus::Succeeded => {}
            RevisionStatus::Unconfirmed => {
                revision.status = RevisionStatus::Succeeded;
                revision.confirm_by = None;
                revision.rollback = RollbackMode::Off;
            }
            RevisionStatus::InProgress => {
                if revision.rollback == RollbackMode::UnlessConfirmed {
                    revision.rollback = RollbackMode::OnFailure;
                }
            }
            RevisionStatus::Failed
            | RevisionStatus::TimedOut
            | RevisionStatus::Superseded
            | RevisionStatus::RolledBack => {
                let reason = format!(
                    "revision {number} cannot be confirmed: its status is {}",
                    revision.status.name()
                );
                return self.fail(queued, Failure::Rejected(reason), now, actions);
            }
        }
        let change = StoreChange::Status(revision.clone());
        self.confirm_by.remove(&number);
        let answer = queued.id.map(|id| (id, Answer::Confirmed { revision: number }));
        self.record(vec![change], answer, actions);
    }

    /// Ends a job without success. One of the core itself is tried again if that may help.
    pub(super) fn fail(
        &mut self,
        queued: Queued,
        failure: Failure,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if let Job::TakeBack { revision } = queued.job {
            let may_help = match &failure {
                Failure::Store(_) | Failure::Expired => true,
                Failure::Request(error) => SendError::from(error.clone()).is_doubtful(),
                _ => false,
            };
            if may_help {
                tracing::warn!(revision, %failure, "a rollback is tried again");
                let pause = if matches!(failure, Failure::Store(_)) { STORE_RETRY } else { RETRY };
                self.retry_at = Some(now.monotonic + pause);
                self.queue.push_back(queued);
            } else {
                self.taken_back(revision, Err(failure.to_string()), actions);
            }
            return;
        }
        refuse(queued.id, failure, actions);
    }
}
