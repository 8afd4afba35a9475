//! The state of the core, and the steps that all its parts take: write, send, answer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ankaios_control::RequestError;
use ankaios_model::proto::ank_base::{UpdateStateRequest, UpdateStateSuccess};
use fleet_contract::revision::{RevisionStatus, RollbackMode};
use fleet_contract::rfc3339;
use service_kit::clock;
use tokio::time::Instant;

use super::book::Book;
use super::event::{Action, Judged, Now};
use super::job::{Failure, Job, JobId, Queued};
use super::plan::{Draft, Gathering, Goal, Plan};
use super::update;
use crate::revisions::item::Items;
use crate::revisions::marker::Marker;
use crate::revisions::revision::Revision;
use crate::revisions::store::{Contents, StoreChange, StoreError};

/// The pause before another attempt to put the overlay back, or to take a revision back.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The pause if the store was the reason, for example a full disk.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(10);

/// The pause if the state could not be read to judge what is put back.
pub(super) const UNREAD_RETRY: Duration = Duration::from_secs(10);

/// How long the success of a rollout may wait to be written. Changes that come fast need fewer
/// writes. If it is lost, the rollout is followed again.
pub(super) const SAVE_DELAY: Duration = Duration::from_secs(1);

/// What the core needs to know about the settings.
#[derive(Debug, Clone)]
pub(in crate::revisions) struct CoreOptions {
    /// Maximum number of revisions that are kept.
    pub(in crate::revisions) history: usize,
    /// How long a change waits for its confirmation. `None` if rollouts are not followed.
    pub(in crate::revisions) confirm_timeout: Option<Duration>,
    /// Maximum size of an update that puts the overlay back, in bytes.
    pub(in crate::revisions) max_update: usize,
}

/// Whether Ankaios has the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placement {
    /// Not known yet, or being put back.
    Pending,
    InPlace,
    /// Ankaios or the policy has refused it, for this reason, while it had this marker.
    Refused {
        reason: String,
        seen: Option<Marker>,
    },
}

/// What the core waits for.
#[derive(Debug)]
pub(super) enum Step {
    Idle,
    /// Reads the marker and the items of the overlay.
    Checking,
    /// Reads the items of a marker of another connector.
    Adopting(Marker),
    /// Loads the revision that a rollback goes back to.
    Loading(Queued, u64),
    /// Loads the values that the items of a trial go back to.
    Gathering(Queued, Gathering),
    /// Loads this revision, which is taken instead of one that never succeeded.
    LoadingFallback(u64),
    /// Reads what a job touches.
    Reading(Queued, Draft),
    Saving(Box<Plan>),
    Sending(Box<Plan>),
    /// Reads the marker, because Ankaios has refused an update for this reason. It may have started
    /// anew since the marker was read.
    Verifying(Box<Plan>, Failure),
    ReadingBack(Box<Plan>, UpdateStateSuccess),
    Marking(Box<Plan>, UpdateStateSuccess),
    /// Writes statuses.
    Recording,
    /// Writes the confirmation of a revision. It counts once it is on the disk.
    Confirming(Option<JobId>, Box<Revision>),
}

/// Decides about revisions. See the module.
#[derive(Debug)]
pub(in crate::revisions) struct Core {
    pub(super) options: CoreOptions,
    pub(super) book: Book,
    pub(super) placement: Placement,
    pub(super) link_up: bool,
    /// Whether the marker has to be checked before anything else.
    pub(super) check_due: bool,
    pub(super) retry_at: Option<Instant>,
    pub(super) queue: VecDeque<Queued>,
    pub(super) step: Step,
    /// When revisions are rolled back unless they are confirmed.
    pub(super) confirm_by: BTreeMap<u64, Instant>,
    /// Whether rollouts of an earlier process were resumed.
    pub(super) resumed: bool,
    /// What Ankaios had for the items of the overlay when it had started anew.
    pub(super) checked: Items,
    /// The marker that was read last.
    pub(super) seen: Option<Marker>,
    /// Why the last check has failed.
    pub(super) check_error: Option<RequestError>,
    /// An update that puts the overlay back and has no answer. The next check says whether Ankaios
    /// has taken it.
    pub(super) unanswered: Option<Box<Plan>>,
    /// What is being written, and what could not be written.
    pub(super) saving: Vec<StoreChange>,
    pub(super) unsaved: Vec<StoreChange>,
    /// What is being written and could not be written before.
    pub(super) carried: Vec<StoreChange>,
    /// When the latter is tried again.
    pub(super) save_at: Option<Instant>,
}
impl Core {
    /// The core for a store with these contents.
    pub(in crate::revisions) fn new(options: CoreOptions, contents: Contents, now: Now) -> Self {
        let book = Book::new(options.history, contents);
        let mut core = Self {
            options,
            book,
            placement: Placement::Pending,
            link_up: false,
            check_due: false,
            retry_at: None,
            queue: VecDeque::new(),
            step: Step::Idle,
            confirm_by: BTreeMap::new(),
            resumed: false,
            checked: Items::new(),
            seen: None,
            check_error: None,
            unanswered: None,
            saving: Vec::new(),
            unsaved: Vec::new(),
            carried: Vec::new(),
            save_at: None,
        };
        core.set_confirm_deadlines(now);
        core
    }

    /// Whether the overlay was refused when Ankaios had this marker.
    pub(super) fn is_refused_at(&self, seen: Option<&Marker>) -> bool {
        matches!(&self.placement, Placement::Refused { seen: at, .. } if at.as_ref() == seen)
    }

    /// Whether somebody says how rollouts end.
    pub(super) fn follows(&self) -> bool {
        self.options.confirm_timeout.is_some()
    }

    /// Keeps what could not be written for another attempt.
    pub(super) fn save_later(&mut self, error: StoreError, now: Now) -> StoreError {
        tracing::error!(%error, "the store cannot be written");
        let later = std::mem::take(&mut self.unsaved);
        self.unsaved = StoreChange::combined(std::mem::take(&mut self.saving), later);
        self.save_at = (!self.unsaved.is_empty()).then_some(now.monotonic + STORE_RETRY);
        error
    }

    /// Writes statuses.
    pub(super) fn record(&mut self, changes: Vec<StoreChange>, actions: &mut Vec<Action>) {
        self.push_save(changes, None, actions);
        self.step = Step::Recording;
    }

    /// Writes a change of a status, together with one that is about to be written.
    pub(super) fn record_status(&mut self, change: StoreChange, actions: &mut Vec<Action>) {
        let saves = actions.iter_mut().rev().find_map(|action| match action {
            Action::Save { changes, .. } => Some(changes),
            _ => None,
        });
        match saves {
            Some(changes) if matches!(self.step, Step::Recording) => {
                changes.push(change.clone());
                self.saving.push(change);
            }
            _ => self.record(vec![change], actions),
        }
    }

    /// Writes changes, together with those that wait to be written.
    pub(super) fn push_save(
        &mut self,
        changes: Vec<StoreChange>,
        judge: Option<Judged>,
        actions: &mut Vec<Action>,
    ) {
        self.save_at = None;
        self.carried = std::mem::take(&mut self.unsaved);
        self.saving = StoreChange::combined(self.carried.clone(), changes);
        actions.push(Action::Save { changes: self.saving.clone(), judge });
    }

    /// Nothing was written. What has waited before still does.
    pub(super) fn keep_waiting(&mut self, now: Now) {
        self.saving = Vec::new();
        for change in std::mem::take(&mut self.carried) {
            self.save_soon(change, now);
        }
    }

    /// What was being written is not true, because it could not be written. What has waited before
    /// is tried again.
    pub(super) fn forget_saving(&mut self, error: StoreError, now: Now) -> StoreError {
        self.saving = std::mem::take(&mut self.carried);
        self.save_later(error, now)
    }

    /// Writes a change with the next one, or after a while: what it says can be found out again.
    pub(super) fn save_soon(&mut self, change: StoreChange, now: Now) {
        self.unsaved = StoreChange::combined(std::mem::take(&mut self.unsaved), vec![change]);
        self.save_at.get_or_insert(now.monotonic + SAVE_DELAY);
    }

    /// Writes what a plan needs, and sends it afterwards.
    pub(super) fn save(&mut self, plan: Plan, saves: Vec<StoreChange>, actions: &mut Vec<Action>) {
        if saves.is_empty() {
            return self.send(Box::new(plan), actions);
        }
        let mut plan = plan;
        // A change that is refused is not written.
        let is_judged_now = plan.goal == Goal::Change && plan.must_be_judged;
        let judge = is_judged_now.then(|| plan.judged());
        plan.must_be_judged &= !is_judged_now;
        self.push_save(saves, judge, actions);
        self.step = Step::Saving(Box::new(plan));
    }

    pub(super) fn send(&mut self, plan: Box<Plan>, actions: &mut Vec<Action>) {
        if plan.goal == Goal::Restore
            && let Some(revision) = &plan.revision
        {
            // The counter is on the disk.
            self.book.revisions.insert(revision.revision, revision.clone());
        }
        let judge = plan.must_be_judged.then(|| plan.judged());
        actions.push(Action::Send { update: plan.update.clone(), judge });
        self.step = Step::Sending(plan);
    }

    /// Tries to put the overlay back once more, after a pause.
    pub(super) fn retry(&mut self, now: Now, pause: Duration) {
        self.check_due = true;
        self.retry_at = Some(now.monotonic + pause);
    }

    /// Adds the condition that the current revision is still in place when Ankaios takes the update.
    pub(super) fn add_condition(&self, update: &mut UpdateStateRequest) {
        if self.placement == Placement::InPlace
            && let Some(current) = self.book.newest()
        {
            update::add_condition(update, current);
        }
    }

    /// Whether a revision was taken back, or is about to be.
    pub(super) fn is_taken_back(&self, number: u64) -> bool {
        let is_queued = |queued: &Queued| matches!(queued.job, Job::TakeBack { revision } if revision == number);
        let current = match &self.step {
            Step::Loading(queued, _) | Step::Gathering(queued, _) | Step::Reading(queued, _) => {
                Some(queued)
            }
            Step::Saving(plan)
            | Step::Sending(plan)
            | Step::Verifying(plan, _)
            | Step::ReadingBack(plan, _)
            | Step::Marking(plan, _) => plan.queued.as_ref(),
            _ => None,
        };
        self.book.is_reverted(number) || self.queue.iter().chain(current).any(is_queued)
    }

    /// Sets when revisions are taken back that wait for their confirmation.
    pub(super) fn set_confirm_deadlines(&mut self, now: Now) {
        let Some(limit) = self.options.confirm_timeout else { return };
        for revision in self.book.revisions.values() {
            let is_unconfirmed = revision.status == RevisionStatus::Unconfirmed;
            // The attempt to take it back may be over.
            if !is_unconfirmed || revision.rollback != RollbackMode::UnlessConfirmed {
                continue;
            }
            let due = revision.confirm_by.as_deref().and_then(rfc3339::parse);
            let left = due.and_then(|due| clock::left_of(limit, due, now.wall));
            let deadline = now.monotonic + left.unwrap_or_default();
            self.confirm_by.insert(revision.revision, deadline);
        }
    }
}

/// Answers a request with an error.
pub(super) fn refuse(id: Option<JobId>, failure: Failure, actions: &mut Vec<Action>) {
    if let Some(id) = id {
        actions.push(Action::Answer { id, result: Err(failure) });
    }
}
