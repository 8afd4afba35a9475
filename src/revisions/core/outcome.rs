//! The outcome of an update: Ankaios has taken it, has refused it, or has not answered.

use ankaios_control::RequestError;
use ankaios_model::proto::ank_base::UpdateStateSuccess;
use fleet_contract::revision::{RevisionStatus, RollbackMode};
use serde_json::Value;

use super::book::{Doubt, Finding};
use super::event::{Action, Now, SendError};
use super::job::{Answer, Failure, Follow, Job, Queued, Updated};
use super::overlay;
use super::plan::{Goal, Plan};
use super::state::{Core, Placement, RETRY, STORE_RETRY, Step, UNREAD_RETRY, refuse};
use crate::revisions::item::Item;
use crate::revisions::marker::{self, Marker};
use crate::revisions::store::{StoreChange, StoreError};

impl Core {
    /// Ankaios has taken the update.
    pub(super) fn sent(
        &mut self,
        plan: Box<Plan>,
        success: UpdateStateSuccess,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if plan.read_back.is_empty() || !plan.is_new {
            return self.mark(plan, success, now, actions);
        }
        let masks = plan.read_back.iter().map(Item::mask).collect();
        actions.push(Action::Read { masks, id: None });
        self.step = Step::ReadingBack(plan, success);
    }

    /// Makes the revision of a plan the current one.
    pub(super) fn mark(
        &mut self,
        plan: Box<Plan>,
        success: UpdateStateSuccess,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let mut plan = plan;
        let has_marker = plan.update.update_mask.iter().any(|mask| mask == marker::MASK);
        plan.brings_all = has_marker && self.placement != Placement::InPlace;
        if !plan.is_new {
            if has_marker {
                self.book.doubt = None;
                self.placement = Placement::InPlace;
            }
            self.book.overlay = plan.overlay.clone();
            self.book.startup = plan.startup.clone();
            return self.done(*plan, success, None, now, actions);
        }
        let Some(mut revision) = plan.revision.clone() else { return };
        if plan.succeeds_at_once(&success) {
            revision.status = RevisionStatus::Succeeded;
            revision.has_succeeded = true;
        }
        let mut saves = Vec::new();
        if plan.was_corrected {
            saves.push(StoreChange::Overlay(revision.revision, plan.overlay.clone()));
        }
        saves.extend(self.make_current(revision, plan.overlay.clone(), plan.startup.clone()));
        self.push_save(saves, None, actions);
        self.step = Step::Marking(plan, success);
    }

    /// The plan is complete. `unsaved` is why the store does not know it yet.
    pub(super) fn done(
        &mut self,
        plan: Plan,
        success: UpdateStateSuccess,
        unsaved: Option<StoreError>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let restarted = overlay::restarted(&plan.overlay);
        let id = plan.id();
        let Plan { goal, revision, is_new, brings_all, named, is_published, request_id, .. } = plan;
        let number = revision.as_ref().map_or(0, |revision| revision.revision);
        let is_restore = matches!(goal, Goal::Restore | Goal::GiveUp);
        // What becomes of a revision that is put back is reported by the rollback itself.
        let rollback = revision
            .filter(|_| is_new && !is_restore)
            .map_or(RollbackMode::Off, |revision| revision.rollback);
        let follow = Follow {
            revision: (is_new || is_restore).then_some(number),
            request_id,
            is_published,
            named,
            success,
            rollback,
            must_be_stable: is_restore || rollback != RollbackMode::Off,
            restarted,
        };
        match goal {
            Goal::Restore => actions.push(Action::CountRestoration { outcome: "succeeded" }),
            Goal::GiveUp => actions.push(Action::CountRestoration { outcome: "given_up" }),
            Goal::Rollback => actions.push(Action::CountRollback { outcome: "requested" }),
            Goal::Change | Goal::TakeBack(_) => {}
        }
        match (id, unsaved) {
            (Some(id), Some(error)) => {
                actions.push(Action::Answer { id, result: Err(Failure::Unsaved(error)) });
                actions.push(Action::Follow(follow));
            }
            (Some(id), None) => {
                let updated = Updated { revision: number, follow };
                let result = Ok(Answer::Updated(Box::new(updated)));
                actions.push(Action::Answer { id, result });
            }
            (None, _) => actions.push(Action::Follow(follow)),
        }
        self.end_reverted_trials(actions);
        if is_restore || brings_all {
            // The rollouts of earlier revisions begin anew as well.
            self.resume_up_to(number.saturating_sub(1), now, actions);
        }
    }

    /// Ankaios has not taken the update, or it is not known whether it has.
    pub(super) fn not_sent(
        &mut self,
        plan: Plan,
        error: SendError,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let doubtful = error.is_doubtful();
        if doubtful
            && plan.is_new
            && let Some(revision) = plan.revision.clone()
        {
            let (overlay, startup) = (plan.overlay.clone(), plan.startup.clone());
            self.book.doubt = Some(Doubt { revision, overlay, startup });
            self.check_due = true;
        }
        match plan.goal {
            // Ankaios may have got it, so the next attempt counts.
            Goal::Restore | Goal::GiveUp if doubtful => {
                self.unanswered = Some(Box::new(plan));
                self.retry(now, RETRY);
            }
            // It was not sent. What looks like a state that is too large may pass.
            Goal::Restore | Goal::GiveUp if error.is_unread() => {
                tracing::warn!(%error, "what operators have changed is put back later");
                self.retry(now, UNREAD_RETRY);
                if plan.goal == Goal::Restore {
                    self.uncount_try(actions);
                }
            }
            Goal::Restore | Goal::GiveUp => {
                self.refuse_restore(error.to_string(), actions);
                if plan.goal == Goal::Restore {
                    self.uncount_try(actions);
                }
            }
            _ => {
                let failure = match error {
                    SendError::Refused(reply) => Failure::Refused(reply),
                    SendError::Request(error) => Failure::Request(error),
                };
                if matches!(failure, Failure::Request(RequestError::Rejected(_))) {
                    let masks = vec![marker::MASK.to_owned()];
                    actions.push(Action::Read { masks, id: None });
                    self.step = Step::Verifying(Box::new(plan), failure);
                } else {
                    self.fail_plan(plan, failure, now, actions);
                }
            }
        }
    }

    /// Ankaios has refused an update, and this is its marker.
    pub(super) fn verified(
        &mut self,
        plan: Plan,
        failure: Failure,
        state: &Value,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let found = self.book.find(Marker::of(state).as_ref());
        match plan.queued {
            // It has started anew meanwhile, and the condition was the reason.
            Some(queued) if self.placement == Placement::InPlace && found != Finding::InPlace => {
                self.queue.push_front(queued);
                self.check_due = true;
                self.retry_at = None;
            }
            _ => self.fail_plan(plan, failure, now, actions),
        }
    }

    /// Ends a plan without success.
    pub(super) fn fail_plan(
        &mut self,
        plan: Plan,
        failure: Failure,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        match plan.goal {
            Goal::Restore | Goal::GiveUp => {
                tracing::error!(%failure, "what operators have changed cannot be put back yet");
                self.retry(now, STORE_RETRY);
            }
            Goal::TakeBack(revision) => {
                let queued = Queued::internal(Job::TakeBack { revision });
                self.fail(queued, failure, now, actions);
            }
            Goal::Change | Goal::Rollback => refuse(plan.id(), failure, actions),
        }
    }
}
