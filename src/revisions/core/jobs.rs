//! Jobs: which one is next, and how it begins.

use std::collections::VecDeque;

use serde_json::Value;
use tokio::time::Instant;

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
        let ready = |queued: &Queued| queued.retry_at.is_none_or(|at| at <= now.monotonic);
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
            Job::Rollback { origin, target } => match self.book.made_by(origin) {
                // It is delivered again.
                Some(revision) => {
                    let updated = Box::new(Updated { revision, follow: Follow::default() });
                    let answer = |id| Action::Answer { id, result: Ok(Answer::Updated(updated)) };
                    actions.extend(queued.id.map(answer));
                }
                None => match self.book.rollback_target(target) {
                    Ok(0) => self.read_for_rollback(queued, Items::new(), true, actions),
                    Ok(number) => {
                        actions.push(Action::Load(number));
                        self.step = Step::Loading(queued, number);
                    }
                    Err(failure) => self.fail(queued, failure, now, actions),
                },
            },
            Job::TakeBack { revision } if self.book.is_reverted(*revision) => {
                let revision = *revision;
                let reverting = self.book.reverting(revision);
                if reverting.is_some_and(|one| !one.is_automatic()) {
                    // An operator was faster.
                    self.taken_back(revision, Ok(()), actions);
                }
            }
            Job::TakeBack { revision } => {
                let revision = *revision;
                self.gather(queued, revision, actions);
            }
            Job::Confirm { revision } => {
                let revision = *revision;
                self.confirm(queued, revision, now, actions);
            }
            &Job::Settle { revision, status, is_stable } => {
                self.settle(revision, status, is_stable, now, actions);
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

    /// When a job that is tried again may start.
    pub(super) fn job_retry(&self) -> Option<Instant> {
        self.queue.iter().filter_map(|queued| queued.retry_at).min()
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
        let refused = self.is_refused_at(seen.as_ref());
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
            Draft::Rollback { overlay, has_succeeded } => {
                self.plan_rollback(queued, overlay, has_succeeded, state, now, actions);
            }
        }
    }
}
