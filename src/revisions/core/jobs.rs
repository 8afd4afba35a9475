//! Jobs: which one is next, and how it begins.

use std::collections::VecDeque;

use serde_json::Value;

use super::book::Finding;
use super::event::{Action, Now};
use super::job::{Answer, Failure, Follow, Job, Queued, Updated};
use super::overlay;
use super::plan::Draft;
use super::state::{Core, Placement, Step};
use crate::revisions::item::Items;
use crate::revisions::marker::Marker;

impl Core {
    /// Starts the next thing to do. Returns whether to call it again while the core is idle.
    pub(super) fn start_next(&mut self, now: Now, actions: &mut Vec<Action>) -> bool {
        if self.save_at.is_some_and(|save_at| save_at <= now.monotonic) {
            self.record(Vec::new(), actions);
            return true;
        }
        if self.check_due && self.link_up {
            if self.retry_at.is_some_and(|retry_at| now.monotonic < retry_at) {
                return false;
            }
            self.check_due = false;
            self.retry_at = None;
            let masks = overlay::masks_of_items(self.book.overlay.keys());
            actions.push(Action::Read { masks, id: None });
            self.step = Step::Checking;
            return true;
        }
        let waits = self.retry_at.is_some_and(|retry_at| now.monotonic < retry_at);
        let ready = |queued: &Queued| !(waits && matches!(queued.job, Job::TakeBack { .. }));
        let Some(index) = self.queue.iter().position(ready) else { return false };
        let Some(queued) = self.queue.remove(index) else { return false };
        match &queued.job {
            Job::Change { update, .. } => {
                let masks = overlay::masks_to_read(&update.update_mask);
                if masks.is_empty() {
                    // Nothing that revisions contain.
                    self.pass_through(queued, actions);
                } else if self.placement == Placement::InPlace
                    && self.book.doubt.is_none()
                    && !self.check_due
                    && overlay::needs_no_state(&self.book.overlay, &update.update_mask)
                {
                    // The condition of the update says whether the marker is still there.
                    self.plan_change(queued, None, now, actions);
                } else {
                    let id = queued.id;
                    actions.push(Action::Read { masks, id });
                    self.step = Step::Reading(queued, Draft::Change);
                }
            }
            // It is delivered again, because its reply was lost.
            Job::Rollback { origin, .. } if self.book.was_made_by(origin) => {
                if let Some(id) = queued.id {
                    let updated = Box::new(Updated {
                        revision: self.book.current(),
                        follow: Follow::default(),
                    });
                    actions.push(Action::Answer { id, result: Ok(Answer::Updated(updated)) });
                }
            }
            Job::Rollback { target, .. } => match self.book.rollback_target(target) {
                Ok(0) => self.read_for_rollback(queued, Items::new(), actions),
                Ok(number) => {
                    actions.push(Action::Load(number));
                    self.step = Step::Loading(queued);
                }
                Err(failure) => self.fail(queued, failure, now, actions),
            },
            Job::TakeBack { revision } if self.book.is_reverted(*revision) => {}
            Job::TakeBack { revision } => {
                let number = self.book.last_succeeded_before(*revision);
                if number == 0 {
                    self.read_for_rollback(queued, Items::new(), actions);
                } else {
                    actions.push(Action::Load(number));
                    self.step = Step::Loading(queued);
                }
            }
            Job::Confirm { revision } => {
                let revision = *revision;
                self.confirm(queued, revision, now, actions);
            }
            Job::Settle { revision, status } => {
                let (revision, status) = (*revision, *status);
                self.settle(revision, status, now, actions);
            }
        }
        true
    }

    /// Gives up requests that have not started in time.
    pub(super) fn expire(&mut self, now: Now, actions: &mut Vec<Action>) {
        let is_late =
            |queued: &Queued| queued.deadline.is_some_and(|deadline| deadline <= now.monotonic);
        let queue = std::mem::take(&mut self.queue);
        let (late, rest): (VecDeque<_>, _) = queue.into_iter().partition(is_late);
        self.queue = rest;
        for queued in late {
            let failure = self.check_error.clone().map_or(Failure::Expired, Failure::Request);
            self.fail(queued, failure, now, actions);
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        let rolls_back = |queued: &Queued| matches!(queued.job, Job::TakeBack { .. });
        self.check_due || self.queue.iter().any(rolls_back)
    }

    /// Plans a job once what it touches was read.
    pub(super) fn read(
        &mut self,
        queued: Queued,
        draft: Draft,
        state: &Value,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let seen = Marker::of(state);
        let refused = matches!(&self.placement, Placement::Refused { seen: at, .. } if *at == seen);
        match self.book.find(seen.as_ref()) {
            Finding::InPlace => {
                self.book.doubt = None;
                self.placement = Placement::InPlace;
            }
            // The overlay is not in place, and that is known: the update brings all of it.
            Finding::Lost if refused => self.book.doubt = None,
            Finding::Decided | Finding::Lost | Finding::Foreign(_) => {
                self.queue.push_front(queued);
                self.check_due = true;
                self.retry_at = None;
                // The link may have been restored a moment ago: it has answered.
                self.link_up = true;
                return;
            }
        }
        match draft {
            Draft::Change => self.plan_change(queued, Some(state), now, actions),
            Draft::Rollback(overlay) => self.plan_rollback(queued, overlay, state, now, actions),
        }
    }
}
