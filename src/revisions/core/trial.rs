//! Trials: how a revision ends, and whether it is taken back without a request.

use fleet_contract::revision::{RevisionStatus, RollbackMode};
use fleet_contract::rfc3339;
use fleet_contract::rollout::RolloutStatus;
use tokio::time::Instant;

use super::event::{Action, Now, SendError};
use super::job::{Answer, Failure, Job, JobId, Queued};
use super::state::{Core, RETRY, STORE_RETRY, Step, refuse};
use crate::revisions::revision::Revision;
use crate::revisions::store::{StoreChange, StoreError};

impl Core {
    /// Records the end of a rollout, and takes the revision back if it has to be.
    pub(super) fn settle(
        &mut self,
        number: u64,
        end: RolloutStatus,
        is_stable: bool,
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
                revision.rollout_succeeded = true;
                if is_stable {
                    revision.has_succeeded = true;
                    revision.tries = 0;
                }
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
        let reverted = revision.reverts.filter(|_| revision.is_automatic());
        self.end_reverted_trials(actions);
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

    /// Ends the trials that were taken back, once the rollout of the revision that does so has ended. A
    /// later change of the same workloads, or a rollback of that revision, ends it, too.
    pub(super) fn end_reverted_trials(&mut self, actions: &mut Vec<Action>) {
        let trials = self.book.revisions.values().filter(|one| one.is_on_trial());
        let ended: Vec<_> = trials
            .filter_map(|trial| {
                let reverting = self.book.reverting(trial.revision)?;
                let number = reverting.revision;
                match reverting.status {
                    RevisionStatus::InProgress => None,
                    RevisionStatus::Failed | RevisionStatus::TimedOut => Some((
                        trial.revision,
                        Err(format!(
                            "the rollout of revision {number}, which takes it back, has failed"
                        )),
                    )),
                    RevisionStatus::Succeeded
                    | RevisionStatus::Superseded
                    | RevisionStatus::Unconfirmed
                    | RevisionStatus::RolledBack => Some((trial.revision, Ok(()))),
                }
            })
            .collect();
        for (trial, result) in ended {
            self.taken_back(trial, result, actions);
        }
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
        match self.confirmed(number) {
            Ok(revision) => {
                self.push_save(vec![StoreChange::Status(revision.clone())], None, actions);
                self.step = Step::Confirming(queued.id, Box::new(revision));
            }
            Err(failure) => self.fail(queued, failure, now, actions),
        }
    }

    /// What a revision is once it is confirmed.
    fn confirmed(&self, number: u64) -> Result<Revision, Failure> {
        self.book.kept(number)?;
        if self.is_taken_back(number) {
            return Err(being_taken_back(number));
        }
        let Some(revision) = self.book.revisions.get(&number) else {
            let reason = "revision 0 is the startup manifest, which needs no confirmation".into();
            return Err(Failure::Rejected(reason));
        };
        if revision.is_on_trial() && self.book.is_superseded(revision) {
            return Err(Failure::Rejected(format!(
                "revision {number} cannot be confirmed: later revisions have replaced all that it \
                 has changed"
            )));
        }
        let mut revision = revision.clone();
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
                return Err(Failure::Rejected(format!(
                    "revision {number} cannot be confirmed: its status is {}",
                    revision.status.name()
                )));
            }
        }
        Ok(revision)
    }

    /// The confirmation is on the disk, or cannot be kept.
    pub(super) fn confirm_saved(
        &mut self,
        id: Option<JobId>,
        revision: Revision,
        saved: Result<(), StoreError>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let number = revision.revision;
        let result = match saved {
            Ok(()) => {
                self.confirm_by.remove(&number);
                self.book.revisions.insert(number, revision);
                Ok(Answer::Confirmed { revision: number })
            }
            Err(error) => Err(Failure::Store(self.forget_saving(error, now))),
        };
        actions.extend(id.map(|id| Action::Answer { id, result }));
    }

    /// When the first of the revisions that nobody has confirmed is taken back.
    pub(super) fn confirm_deadline(&self) -> Option<Instant> {
        let open = self.confirm_by.iter().filter(|(number, _)| !self.is_being_decided(**number));
        open.map(|(_, deadline)| *deadline).min()
    }

    /// Takes back what nobody has confirmed in time.
    pub(super) fn take_unconfirmed_back(&mut self, now: Now, actions: &mut Vec<Action>) {
        let is_due = |(number, deadline): &(&u64, &Instant)| {
            **deadline <= now.monotonic && !self.is_being_decided(**number)
        };
        let due: Vec<u64> =
            self.confirm_by.iter().filter(is_due).map(|(number, _)| *number).collect();
        for revision in due {
            self.confirm_by.remove(&revision);
            tracing::warn!(revision, "a change was not confirmed in time: it is rolled back");
            self.take_back(revision, actions);
        }
    }

    /// Whether the fate of a revision is about to be known: its confirmation has arrived in time and
    /// waits, or it is not known whether it was taken back.
    fn is_being_decided(&self, number: u64) -> bool {
        let doubt = self.book.doubt.as_ref();
        self.is_being_confirmed(number)
            || doubt.is_some_and(|doubt| doubt.revision.reverts == Some(number))
    }

    fn is_being_confirmed(&self, number: u64) -> bool {
        let is_queued =
            |queued: &Queued| matches!(queued.job, Job::Confirm { revision } if revision == number);
        let is_saving =
            matches!(&self.step, Step::Confirming(_, revision) if revision.revision == number);
        is_saving || self.queue.iter().any(is_queued)
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
                let retry_at = Some(now.monotonic + pause);
                self.queue.push_back(Queued { retry_at, ..queued });
            } else {
                self.taken_back(revision, Err(failure.to_string()), actions);
            }
            return;
        }
        refuse(queued.id, failure, actions);
    }
}

/// Why a revision cannot be confirmed any more.
pub(super) fn being_taken_back(revision: u64) -> Failure {
    Failure::Rejected(format!("revision {revision} cannot be confirmed: it is rolled back"))
}
