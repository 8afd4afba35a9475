//! What to do about revisions: events and the time in, actions out. No I/O and no clock.
//!
//! One thing is done at a time. A job is taken from the queue, and [`Step`] is what the core
//! waits for until the job is done. Before an update is sent, the marker is read, unless the overlay
//! is in place and nothing of the state is needed. If the marker says that Ankaios has started
//! anew, the overlay is put back first. Ankaios may also start anew after that; so an update has a
//! condition, which Ankaios refuses if the marker is another one.
//!
//! ```text
//!  change    [Reading] ─► Saving (in doubt) ─► Sending ─► [ReadingBack] ─► Marking (current)
//!  rollback  [Loading or Gathering] ─► Reading ─► Saving (in doubt) ─► Sending ─► Marking (current)
//!  restore   Checking ─► [Saving (counter, startup)] ─► Sending
//!  giving up Checking ─► [LoadingFallback] ─► Saving (in doubt) ─► Sending ─► Marking (current)
//!  decision  Checking ─► Recording
//!  adoption  Checking ─► Adopting ─► Recording
//!  a status  Recording
//! ```
//!
//! If Ankaios refuses the update of a change or of a rollback, the marker is read (`Verifying`). If it
//! is not the expected one, the job begins again after `Checking`; otherwise the refusal is its
//! answer. An update without an answer is in doubt: `Checking` finds out whether Ankaios has it.
//!
//! A rollback that the core has decided itself takes the same steps as one that was requested. A
//! change that leaves the overlay as it is is sent without Saving and Marking.
//!
//! The core has one state, [`Core`], and each file decides about one part of it. A file uses only
//! those below it:
//!
//! ```text
//!  core            an event comes in: what it means, and which step it ends
//!  jobs            which job is next, and how it begins
//!   └ gathering                   the values that a trial goes back to
//!      └ change, rollback         the plan of a request
//!  check           what the marker says: in place, decided, of another connector, or lost
//!  outcome         Ankaios has taken an update, has refused it, or has not answered
//!  restoration     what is put back, and how often
//!  resume          which rollouts are followed again
//!  trial           how a revision ends, and whether it is taken back
//!  state           the state, and the steps: write, send, answer
//!  overlay, update what a change does to the overlay; the update for Ankaios
//!  book            the revisions that are kept, and what a marker means
//!   └ past, retention             what they go back to; which of them are kept
//!  plan, job, event
//! ```

mod book;
mod change;
mod check;
mod current;
mod event;
mod gathering;
mod job;
mod jobs;
mod outcome;
mod overlay;
mod past;
mod plan;
mod restoration;
mod resume;
mod retention;
mod rollback;
mod state;
#[cfg(test)]
mod tests;
mod trial;
mod update;

use fleet_contract::revision::HistoryReply;
use fleet_contract::status::{RestoreState, RevisionReport};
use tokio::time::Instant;

use super::marker::Marker;
use super::revision::Revision;
pub(super) use event::{Action, Event, Judged, Now, SendError};
use job::Queued;
pub(super) use job::{Answer, Job, JobId};
pub(crate) use job::{Failure, Follow, RollbackTarget, Updated};
pub(super) use state::{Core, CoreOptions};
use state::{Placement, RETRY, Step, refuse};

impl Core {
    /// The number of the current revision; 0 is the startup manifest alone.
    pub(super) fn current(&self) -> u64 {
        self.book.current()
    }

    /// A revision that is kept.
    ///
    /// # Errors
    /// [`Failure::NotFound`], with the revisions that are kept.
    pub(super) fn revision(&self, number: u64) -> Result<&Revision, Failure> {
        self.book.revision(number)
    }

    /// The reply to `manifest/history`.
    pub(super) fn history(&self) -> HistoryReply {
        self.book.history()
    }

    /// What the status of the connector says about revisions.
    pub(super) fn report(&self) -> RevisionReport {
        let current = self.book.newest();
        let (restore, reason) = match (&self.placement, current) {
            (_, None) => (None, None),
            (Placement::Pending, Some(_)) => {
                let reason = self.check_error.as_ref().map(ToString::to_string);
                (Some(RestoreState::Pending), reason)
            }
            (Placement::Refused { reason, .. }, Some(_)) => {
                (Some(RestoreState::Refused), Some(reason.clone()))
            }
            (Placement::InPlace, Some(current)) => match &current.given_up {
                Some(reason) => (Some(RestoreState::GivenUp), Some(reason.clone())),
                None => (None, None),
            },
        };
        RevisionReport {
            revision: self.book.current(),
            release: current.and_then(|current| current.release.clone()),
            rollout: current.map(|current| current.status),
            restore,
            restore_reason: reason,
        }
    }

    /// When there is something to do even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        // While a step waits for its answer, nothing else is started.
        let is_idle = matches!(self.step, Step::Idle);
        let retry =
            self.retry_at.filter(|_| self.check_due).into_iter().chain(self.job_retry()).min();
        let retry = retry.filter(|_| is_idle && self.link_up);
        let save_at = self.save_at.filter(|_| is_idle);
        let jobs = self.queue.iter().filter_map(|queued| queued.deadline);
        retry.into_iter().chain(save_at).chain(jobs).chain(self.confirm_deadline()).min()
    }

    /// Handles an event. Returns what to do, in this order.
    pub(super) fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        // A confirmation that arrives now is too late for these.
        self.take_unconfirmed_back(now, &mut actions);
        self.take(event, now, &mut actions);
        self.expire(now, &mut actions);
        while matches!(self.step, Step::Idle) && self.start_next(now, &mut actions) {}
        actions
    }

    fn take(&mut self, event: Event, now: Now, actions: &mut Vec<Action>) {
        match event {
            Event::LinkUp => {
                self.link_up = true;
                self.check_due = true;
                self.retry_at = None;
                self.queue.iter_mut().for_each(|queued| queued.retry_at = None);
                if matches!(self.placement, Placement::Refused { .. }) {
                    self.placement = Placement::Pending;
                }
            }
            Event::LinkDown => self.link_up = false,
            Event::Interrupted => self.check_due = true,
            Event::Marker(seen) => {
                if !self.is_refused_at(seen.as_ref()) && !self.is_expected(seen.as_ref()) {
                    self.check_due = true;
                }
            }
            // The rollback may wait for Ankaios; the answer need not.
            Event::Requested { id, job: Job::Confirm { revision }, .. }
                if self.is_taken_back(revision) =>
            {
                refuse(Some(id), trial::being_taken_back(revision), actions);
            }
            Event::Requested { id, job, deadline } => {
                let (id, deadline) = (Some(id), Some(deadline));
                let queued = Queued { id, deadline, retry_at: None, job };
                self.queue.push_back(queued);
            }
            Event::RolloutEnded { revision, status, is_stable } => {
                let job = Job::Settle { revision, status, is_stable };
                self.queue.push_back(Queued::internal(job));
            }
            Event::Tick => {}
            Event::Read(_)
            | Event::Refused(_)
            | Event::Loaded(_)
            | Event::Saved(_)
            | Event::Sent(_) => {
                let step = std::mem::replace(&mut self.step, Step::Idle);
                self.answered(step, event, now, actions);
            }
        }
    }

    /// Continues the step that has waited for this answer.
    fn answered(&mut self, step: Step, event: Event, now: Now, actions: &mut Vec<Action>) {
        match (step, event) {
            (Step::Checking, Event::Read(read)) => match read {
                Ok(state) => {
                    self.check_error = None;
                    self.checked(&state, now, actions);
                }
                Err(error) => {
                    if self.check_error.as_ref() != Some(&error) {
                        tracing::warn!(%error, "it is not known whether Ankaios has started anew");
                    }
                    self.check_error = Some(error);
                    self.retry(now, RETRY);
                }
            },
            (Step::Adopting(marker), Event::Read(read)) => match read {
                Ok(state) => self.adopt(&marker, &state, now, actions),
                Err(_) => self.retry(now, RETRY),
            },
            (Step::LoadingFallback(number), Event::Loaded(loaded)) => match loaded {
                Ok(overlay) => self.give_up(number, overlay, now, actions),
                Err(error) => {
                    tracing::error!(revision = number, %error, "an older revision is used instead");
                    self.fall_back_before(number, now, actions);
                }
            },
            (Step::Gathering(queued, gathering), Event::Loaded(loaded)) => {
                self.gathered(queued, gathering, loaded, now, actions);
            }
            (Step::Loading(queued, number), Event::Loaded(loaded)) => match loaded {
                Ok(overlay) => {
                    let has_succeeded = self.book.has_stayed_up(number);
                    self.read_for_rollback(queued, overlay, has_succeeded, actions);
                }
                Err(error) => self.fail(queued, Failure::Store(error), now, actions),
            },
            (Step::Reading(queued, draft), Event::Read(read)) => match read {
                Ok(state) => self.read(queued, draft, &state, now, actions),
                Err(error) => self.fail(queued, Failure::Request(error), now, actions),
            },
            (Step::Saving(plan), Event::Saved(saved)) => match saved {
                Ok(()) => self.send(plan, actions),
                // Without the counter a revision that never succeeded must not be tried.
                Err(error) if plan.restores_what_has_succeeded() => {
                    tracing::error!(%error, "the store cannot be written");
                    self.send(plan, actions);
                }
                Err(error) => {
                    let error = self.forget_saving(error, now);
                    self.fail_plan(*plan, Failure::Store(error), now, actions);
                }
            },
            (Step::Sending(plan), Event::Sent(sent)) => match sent {
                Ok(success) => self.sent(plan, success, now, actions),
                Err(error) => self.not_sent(*plan, error, now, actions),
            },
            (Step::Verifying(plan, failure), Event::Read(read)) => match read {
                Ok(state) => self.verified(*plan, failure, &state, now, actions),
                // A decision of the core is tried again, the request gets the reason.
                Err(error) if plan.id().is_none() => {
                    self.fail_plan(*plan, error.into(), now, actions);
                }
                Err(_) => self.fail_plan(*plan, failure, now, actions),
            },
            (Step::ReadingBack(plan, success), Event::Read(read)) => {
                let mut plan = plan;
                // What was computed stays if it cannot be read.
                if let Ok(state) = read {
                    plan.correct(&state);
                }
                self.mark(plan, success, now, actions);
            }
            (Step::Marking(plan, success), Event::Saved(saved)) => {
                let unsaved = saved.map_err(|error| self.save_later(error, now)).err();
                self.done(*plan, success, unsaved, now, actions);
            }
            (Step::Recording, Event::Saved(saved)) => {
                if let Err(error) = saved {
                    self.save_later(error, now);
                }
            }
            (Step::Confirming(id, revision), Event::Saved(saved)) => {
                self.confirm_saved(id, *revision, saved, now, actions);
            }
            (Step::Reading(queued, _), Event::Refused(reply)) => {
                refuse(queued.id, Failure::Refused(reply), actions);
            }
            (Step::Saving(plan), Event::Refused(reply)) => {
                self.keep_waiting(now);
                refuse(plan.id(), Failure::Refused(reply), actions);
            }
            (step, event) => {
                debug_assert!(false, "{event:?} does not belong to {step:?}");
                self.step = step;
            }
        }
    }

    /// Whether this is the marker of the current revision, or of the one that is being sent.
    fn is_expected(&self, seen: Option<&Marker>) -> bool {
        let sending = match &self.step {
            Step::Saving(plan)
            | Step::Sending(plan)
            | Step::Verifying(plan, _)
            | Step::ReadingBack(plan, _)
            | Step::Marking(plan, _) => plan.revision.as_ref(),
            _ => None,
        };
        let is_sent =
            seen.is_some_and(|marker| sending.is_some_and(|revision| revision.is(marker)));
        is_sent || self.book.is_known(seen)
    }
}
