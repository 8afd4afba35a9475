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
//!  rollback  [Loading] ─► Reading ─► Saving (in doubt) ─► Sending ─► Marking (current)
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

mod book;
mod event;
mod job;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ankaios_control::RequestError;
use ankaios_model::proto::ank_base::{UpdateStateRequest, UpdateStateSuccess};
use fleet_contract::operation::Operation;
use fleet_contract::revision::{HistoryReply, RevisionStatus, RollbackMode};
use fleet_contract::rfc3339;
use fleet_contract::rollout::RolloutStatus;
use fleet_contract::status::{RestoreState, RevisionReport};
use serde_json::Value;
use tokio::time::Instant;

use super::item::{Item, Items, items_of};
use super::marker::{self, Marker};
use super::revision::{MAX_TRIES, Origin, Revision, changes, rollback_id};
use super::store::{Contents, StoreChange, StoreError};
use book::{Book, Finding};
pub(super) use event::{Action, Event, Now, SendError};
use job::Queued;
pub(super) use job::{Answer, Job, JobId};
pub(crate) use job::{Failure, Follow, RollbackTarget, Updated};
use plan::{Draft, Goal, Plan};

/// The pause before another attempt to put the overlay back, or to take a revision back.
const RETRY: Duration = Duration::from_secs(1);

/// The pause if the store was the reason, for example a full disk.
const STORE_RETRY: Duration = Duration::from_secs(10);

/// How long the success of a rollout may wait to be written. Changes that come fast need fewer
/// writes. If it is lost, the rollout is followed again.
const SAVE_DELAY: Duration = Duration::from_secs(1);

/// What the core needs to know about the settings.
#[derive(Debug, Clone)]
pub(super) struct CoreOptions {
    /// Maximum number of revisions that are kept.
    pub(super) history: usize,
    /// How long a change waits for its confirmation. `None` if rollouts are not followed.
    pub(super) confirm_timeout: Option<Duration>,
    /// Maximum size of an update that puts the overlay back, in bytes.
    pub(super) max_update: usize,
}

/// Whether Ankaios has the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Placement {
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
enum Step {
    Idle,
    /// Reads the marker and the items of the overlay.
    Checking,
    /// Reads the items of a marker of another connector.
    Adopting(Marker),
    /// Loads the revision that a rollback goes back to.
    Loading(Queued),
    /// Loads the revision that is taken instead of one that never succeeded.
    LoadingFallback,
    /// Reads what a job touches.
    Reading(Queued, Draft),
    Saving(Box<Plan>),
    Sending(Box<Plan>),
    /// Reads the marker, because Ankaios has refused an update for this reason. It may have started
    /// anew since the marker was read.
    Verifying(Box<Plan>, Failure),
    ReadingBack(Box<Plan>, UpdateStateSuccess),
    Marking(Box<Plan>, UpdateStateSuccess),
    /// Writes statuses. The answer is for the request that has caused it.
    Recording(Option<(JobId, Answer)>),
}

/// Decides about revisions. See the module.
#[derive(Debug)]
pub(super) struct Core {
    options: CoreOptions,
    book: Book,
    placement: Placement,
    link_up: bool,
    /// Whether the marker has to be checked before anything else.
    check_due: bool,
    retry_at: Option<Instant>,
    queue: VecDeque<Queued>,
    step: Step,
    /// When revisions are rolled back unless they are confirmed.
    confirm_by: BTreeMap<u64, Instant>,
    /// Whether rollouts of an earlier process were resumed.
    resumed: bool,
    /// What Ankaios had for the items of the overlay when it had started anew.
    checked: Items,
    /// The marker that was read last.
    seen: Option<Marker>,
    /// Why the last check has failed.
    check_error: Option<RequestError>,
    /// Whether the last attempt to put the overlay back was refused.
    repeats_try: bool,
    /// What is being written, and what could not be written.
    saving: Vec<StoreChange>,
    unsaved: Vec<StoreChange>,
    /// What is being written and could not be written before.
    carried: Vec<StoreChange>,
    /// When the latter is tried again.
    save_at: Option<Instant>,
}

impl Core {
    /// The core for a store with these contents.
    pub(super) fn new(options: CoreOptions, contents: Contents, now: Now) -> Self {
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
            repeats_try: false,
            saving: Vec::new(),
            unsaved: Vec::new(),
            carried: Vec::new(),
            save_at: None,
        };
        core.set_confirm_deadlines(now);
        core
    }

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
        let retry = self.retry_at.filter(|_| is_idle && self.link_up && self.is_waiting());
        let save_at = self.save_at.filter(|_| is_idle);
        let jobs = self.queue.iter().filter_map(|queued| queued.deadline);
        retry.into_iter().chain(save_at).chain(jobs).chain(self.confirm_by.values().copied()).min()
    }

    /// Handles an event. Returns what to do, in this order.
    pub(super) fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
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
                if matches!(self.placement, Placement::Refused { .. }) {
                    self.placement = Placement::Pending;
                }
            }
            Event::LinkDown => self.link_up = false,
            Event::Marker(seen) => {
                let is_refused = matches!(
                    &self.placement, Placement::Refused { seen: at, .. } if *at == seen
                );
                if !is_refused && !self.is_expected(seen.as_ref()) {
                    self.check_due = true;
                }
            }
            Event::Requested { id, job, deadline } => {
                let queued = Queued { id: Some(id), deadline: Some(deadline), job };
                self.queue.push_back(queued);
            }
            Event::RolloutEnded { revision, status } => {
                self.queue.push_back(Queued::internal(Job::Settle { revision, status }));
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
            (Step::LoadingFallback, Event::Loaded(loaded)) => {
                // A revision that cannot be read is not put back; the startup manifest is left.
                let overlay = loaded.unwrap_or_default();
                self.give_up(overlay, now, actions);
            }
            (Step::Loading(queued), Event::Loaded(loaded)) => match loaded {
                Ok(overlay) => self.read_for_rollback(queued, overlay, actions),
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
                    // What the plan would write is not true.
                    self.saving = std::mem::take(&mut self.carried);
                    let error = self.save_later(error, now);
                    self.fail_plan(*plan, Failure::Store(error), now, actions);
                }
            },
            (Step::Sending(plan), Event::Sent(sent)) => match sent {
                Ok(success) => self.sent(plan, success, actions),
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
                self.mark(plan, success, actions);
            }
            (Step::Marking(plan, success), Event::Saved(saved)) => {
                let unsaved = saved.map_err(|error| self.save_later(error, now)).err();
                self.done(*plan, success, unsaved, actions);
            }
            (Step::Recording(answer), Event::Saved(saved)) => {
                let saved = saved.map_err(|error| self.save_later(error, now));
                if let Some((id, answer)) = answer {
                    let result = saved.map(|()| answer).map_err(Failure::Store);
                    actions.push(Action::Answer { id, result });
                }
            }
            (Step::Reading(queued, _), Event::Refused(reply)) => {
                refuse(queued.id, Failure::Refused(reply), actions);
            }
            (step, event) => {
                debug_assert!(false, "{event:?} does not belong to {step:?}");
                self.step = step;
            }
        }
    }

    /// Keeps what could not be written for another attempt.
    fn save_later(&mut self, error: StoreError, now: Now) -> StoreError {
        tracing::error!(%error, "the store cannot be written");
        let later = std::mem::take(&mut self.unsaved);
        self.unsaved = StoreChange::combined(std::mem::take(&mut self.saving), later);
        self.save_at = (!self.unsaved.is_empty()).then_some(now.monotonic + STORE_RETRY);
        error
    }

    /// Writes statuses.
    fn record(
        &mut self,
        changes: Vec<StoreChange>,
        answer: Option<(JobId, Answer)>,
        actions: &mut Vec<Action>,
    ) {
        self.push_save(changes, actions);
        self.step = Step::Recording(answer);
    }

    /// Writes changes, together with those that wait to be written.
    fn push_save(&mut self, changes: Vec<StoreChange>, actions: &mut Vec<Action>) {
        self.save_at = None;
        self.carried = std::mem::take(&mut self.unsaved);
        self.saving = StoreChange::combined(self.carried.clone(), changes);
        actions.push(Action::Save(self.saving.clone()));
    }

    /// Writes a change with the next one, or after a while: what it says can be found out again.
    fn save_soon(&mut self, change: StoreChange, now: Now) {
        self.unsaved = StoreChange::combined(std::mem::take(&mut self.unsaved), vec![change]);
        self.save_at.get_or_insert(now.monotonic + SAVE_DELAY);
    }

    /// Starts the next thing to do. Returns whether to call it again while the core is idle.
    fn start_next(&mut self, now: Now, actions: &mut Vec<Action>) -> bool {
        if self.save_at.is_some_and(|save_at| save_at <= now.monotonic) {
            self.record(Vec::new(), None, actions);
            return true;
        }
        if self.check_due && self.link_up {
            if self.retry_at.is_some_and(|retry_at| now.monotonic < retry_at) {
                return false;
            }
            self.check_due = false;
            self.retry_at = None;
            let masks = plan::masks_of_items(self.book.overlay.keys());
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
                let masks = plan::masks_to_read(&update.update_mask);
                if masks.is_empty() {
                    // Nothing that revisions contain.
                    self.pass_through(queued, actions);
                } else if self.placement == Placement::InPlace
                    && self.book.doubt.is_none()
                    && !self.check_due
                    && plan::needs_no_state(&self.book.overlay, &update.update_mask)
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

    /// Gives up requests that have not started in time, and rolls back what was not confirmed.
    fn expire(&mut self, now: Now, actions: &mut Vec<Action>) {
        let is_late =
            |queued: &Queued| queued.deadline.is_some_and(|deadline| deadline <= now.monotonic);
        let queue = std::mem::take(&mut self.queue);
        let (late, rest): (VecDeque<_>, _) = queue.into_iter().partition(is_late);
        self.queue = rest;
        for queued in late {
            let failure = self.check_error.clone().map_or(Failure::Expired, Failure::Request);
            self.fail(queued, failure, now, actions);
        }
        let due = self.confirm_by.extract_if(.., |_, deadline| *deadline <= now.monotonic);
        for (revision, _) in due.collect::<Vec<_>>() {
            tracing::warn!(revision, "a change was not confirmed in time: it is rolled back");
            self.take_back(revision, actions);
        }
    }

    fn is_waiting(&self) -> bool {
        let rolls_back = |queued: &Queued| matches!(queued.job, Job::TakeBack { .. });
        self.check_due || self.queue.iter().any(rolls_back)
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

    /// Tries to put the overlay back once more, after a pause.
    fn retry(&mut self, now: Now, pause: Duration) {
        self.check_due = true;
        self.retry_at = Some(now.monotonic + pause);
    }

    /// Handles what a check has read: the marker, and what Ankaios has for the items of the
    /// overlay.
    fn checked(&mut self, state: &Value, now: Now, actions: &mut Vec<Action>) {
        self.seen = Marker::of(state);
        match self.book.find(self.seen.as_ref()) {
            Finding::InPlace => {
                self.book.doubt = None;
                self.in_place(now, actions);
            }
            Finding::Decided => self.decide(now, actions),
            Finding::Foreign(marker) => {
                tracing::warn!(
                    revision = marker.revision,
                    current = self.book.current(),
                    "Ankaios has a revision of another connector: it is taken over"
                );
                let masks = plan::masks_of_items(&marker.items);
                actions.push(Action::Read { masks, id: None });
                self.step = Step::Adopting(marker);
            }
            Finding::Lost => {
                self.book.doubt = None;
                self.placement = Placement::Pending;
                let values = items_of(state);
                self.checked = self
                    .book
                    .overlay
                    .keys()
                    .map(|item| (item.clone(), values.get(item).cloned()))
                    .collect();
                self.restore(now, actions);
            }
        }
    }

    /// The revision in doubt is the current one.
    fn decide(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Some((mut revision, overlay)) = self.book.doubt.take() else { return };
        tracing::info!(revision = revision.revision, "Ankaios has the revision that was in doubt");
        revision.in_doubt = false;
        self.book.overlay = overlay;
        self.placement = Placement::InPlace;
        self.record(vec![StoreChange::Status(revision.clone())], None, actions);
        self.book.revisions.insert(revision.revision, revision.clone());
        if self.resumed {
            actions.push(Action::Follow(self.book.resumed_rollout(&revision)));
        } else {
            self.resume(now, actions);
        }
    }

    fn in_place(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.placement = Placement::InPlace;
        self.resume(now, actions);
    }

    /// Follows the rollouts of an earlier process again.
    fn resume(&mut self, now: Now, actions: &mut Vec<Action>) {
        if std::mem::replace(&mut self.resumed, true) {
            return;
        }
        self.set_confirm_deadlines(now);
        self.follow_in_progress(actions);
        self.take_failed_back(actions);
    }

    fn follow_in_progress(&mut self, actions: &mut Vec<Action>) {
        let all = self.book.revisions.values();
        let in_progress = all.filter(|one| one.status == RevisionStatus::InProgress);
        let follows = in_progress.map(|one| Action::Follow(self.book.resumed_rollout(one)));
        actions.extend(follows.collect::<Vec<_>>());
    }

    /// Takes back what has failed before the process or Ankaios ended.
    fn take_failed_back(&mut self, actions: &mut Vec<Action>) {
        let failed = self.book.revisions.values().filter(|one| one.has_failed_trial());
        let failed: Vec<u64> = failed.map(|one| one.revision).collect();
        failed.into_iter().for_each(|revision| self.take_back(revision, actions));
    }

    /// Takes over a revision of another connector. `state` has its items.
    fn adopt(&mut self, marker: &Marker, state: &Value, now: Now, actions: &mut Vec<Action>) {
        if Marker::of(state).as_ref() != Some(marker) {
            // It has changed meanwhile.
            self.check_due = true;
            return;
        }
        let values = items_of(state);
        let value = |item: &Item| values.get(item).cloned();
        let overlay: Items = marker.items.iter().map(|item| (item.clone(), value(item))).collect();
        let former = |item: &Item| self.book.overlay.get(item);
        let changed: Items = overlay
            .iter()
            .filter(|(item, value)| former(item) != Some(value))
            .map(|(item, value)| (item.clone(), value.clone()))
            .collect();
        let revision = Revision::adopted(marker, changes(&changed), now.wall);
        let mut saves = vec![
            StoreChange::Overlay(revision.revision, overlay.clone()),
            StoreChange::Status(revision.clone()),
        ];
        self.book.overlay = overlay;
        self.book.doubt = None;
        self.placement = Placement::InPlace;
        self.book.revisions.insert(revision.revision, revision.clone());
        if self.resumed {
            actions.push(Action::Follow(self.book.resumed_rollout(&revision)));
        } else {
            self.resume(now, actions);
        }
        saves.extend(self.book.prune());
        self.record(saves, None, actions);
    }

    /// Puts the overlay back. `checked` has what the startup manifest has for its items.
    fn restore(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Some(current) = self.book.newest() else { return };
        // An attempt that was refused is not another try.
        let is_repeated = std::mem::take(&mut self.repeats_try);
        if !current.has_succeeded && current.tries >= MAX_TRIES && !is_repeated {
            match self.book.last_succeeded_before(current.revision) {
                0 => self.give_up(Items::new(), now, actions),
                number => {
                    actions.push(Action::Load(number));
                    self.step = Step::LoadingFallback;
                }
            }
            return;
        }
        let mut revision = current.clone();
        let mut saves = Vec::new();
        let startup = self.startup_of_check();
        if startup != self.book.startup {
            saves.push(StoreChange::Startup(startup.clone()));
        }
        if !revision.has_succeeded && !is_repeated {
            revision.tries += 1;
            saves.push(StoreChange::Status(revision.clone()));
        }
        let differing = different(&self.book.overlay, &self.checked);
        tracing::warn!(
            revision = revision.revision,
            items = differing.len(),
            attempt = revision.tries,
            "Ankaios has started anew: what operators have changed is put back"
        );
        let marker = revision.marker(&self.book.overlay);
        let update = match plan::update_of(&differing, &self.checked, &marker) {
            Ok(update) => update,
            Err(error) => return self.refuse_restore(error.to_string(), actions),
        };
        let named = plan::workload_names(&differing);
        let plan = Plan {
            goal: Goal::Restore,
            queued: None,
            is_new: false,
            overlay: self.book.overlay.clone(),
            startup,
            update,
            read_back: [].into(),
            named,
            is_published: true,
            is_judged: true,
            was_corrected: false,
            request_id: format!("restore-{}", revision.revision),
            revision: Some(revision),
        };
        self.save(plan, saves, actions);
    }

    /// The values of the startup manifest after a check. Those of other items belong to an earlier
    /// start. With an earlier marker there was no start: another replica has put its overlay back.
    fn startup_of_check(&self) -> Items {
        if self.seen.is_none() { self.checked.clone() } else { self.book.startup.clone() }
    }

    /// Ankaios cannot be sent the overlay.
    fn refuse_restore(&mut self, reason: String, actions: &mut Vec<Action>) {
        tracing::error!(reason, "what operators have changed cannot be put back");
        actions.push(Action::CountRestoration { outcome: "refused" });
        // An event of the marker that was read may have come meanwhile.
        self.check_due = false;
        self.placement = Placement::Refused { reason, seen: self.seen.clone() };
    }

    /// Puts this overlay back, of an earlier revision, instead of the current one.
    fn give_up(&mut self, overlay: Items, now: Now, actions: &mut Vec<Action>) {
        let Some(current) = self.book.newest().cloned() else { return };
        let startup = self.startup_of_check();
        let target = self.book.last_succeeded_before(current.revision);
        let reason = format!(
            "revision {} was put back {MAX_TRIES} times and never succeeded, so revision {target} \
             was taken instead",
            current.revision
        );
        tracing::error!("{reason}");
        // Nothing of the current overlay is in place.
        let differing = different(&overlay, &self.checked);
        let changed = plan::difference(&self.book.overlay, &overlay, &startup).unwrap_or_default();
        let origin = Origin {
            operation: Operation::ManifestRollback.name().to_owned(),
            request_id: rollback_id(current.revision),
            release: self.book.revisions.get(&target).and_then(|one| one.release.clone()),
            rollback: RollbackMode::Off,
        };
        let mut revision = self.book.new_revision(origin, changes(&changed), now.wall);
        revision.reverts = Some(current.revision);
        revision.given_up = Some(reason);
        let update = match plan::update_of(&differing, &self.checked, &revision.marker(&overlay)) {
            Ok(update) => update,
            Err(error) => return self.refuse_restore(error.to_string(), actions),
        };
        let saves = vec![
            StoreChange::Startup(startup.clone()),
            StoreChange::Overlay(revision.revision, overlay.clone()),
            StoreChange::Status(revision.clone()),
        ];
        let plan = Plan {
            goal: Goal::GiveUp,
            queued: None,
            is_new: true,
            overlay,
            startup,
            update,
            read_back: [].into(),
            named: [].into(),
            is_published: true,
            is_judged: true,
            was_corrected: false,
            request_id: format!("restore-{}", revision.revision),
            revision: Some(revision),
        };
        self.save(plan, saves, actions);
    }

    /// Sends an update that touches nothing that revisions contain.
    fn pass_through(&mut self, queued: Queued, actions: &mut Vec<Action>) {
        let Job::Change { origin, update, named, is_published } = queued.job.clone() else {
            return;
        };
        let plan = Plan {
            goal: Goal::Change,
            queued: Some(queued),
            revision: self.book.newest().cloned(),
            is_new: false,
            overlay: self.book.overlay.clone(),
            startup: self.book.startup.clone(),
            update,
            read_back: [].into(),
            named,
            is_published,
            // No state was read for the guard.
            is_judged: true,
            was_corrected: false,
            request_id: origin.request_id,
        };
        self.send(Box::new(plan), actions);
    }

    /// Reads the marker and what differs, for a rollback to this overlay.
    fn read_for_rollback(&mut self, queued: Queued, overlay: Items, actions: &mut Vec<Action>) {
        let differing = |item: &&Item| self.book.overlay.get(*item) != overlay.get(*item);
        let items = self.book.overlay.keys().chain(overlay.keys()).filter(differing);
        let masks: std::collections::BTreeSet<_> =
            items.map(Item::mask).chain([marker::MASK.to_owned()]).collect();
        actions.push(Action::Read { masks: masks.into_iter().collect(), id: queued.id });
        self.step = Step::Reading(queued, Draft::Rollback(overlay));
    }

    /// Plans a job once what it touches was read.
    fn read(
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

    fn plan_change(
        &mut self,
        queued: Queued,
        state: Option<&Value>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let is_unread = state.is_none();
        let state = state.unwrap_or(&Value::Null);
        let Job::Change { origin, mut update, named, is_published } = queued.job.clone() else {
            return;
        };
        let next = plan::next_overlay(&self.book.overlay, &self.book.startup, &update, state);
        let in_place = self.placement == Placement::InPlace;
        let request_id = origin.request_id.clone();
        let (revision, saves) = if next.changed.is_empty() {
            (self.book.newest().cloned(), Vec::new())
        } else {
            let revision = self.book.new_revision(origin, changes(&next.changed), now.wall);
            let mut saves = Vec::new();
            if next.startup != self.book.startup {
                saves.push(StoreChange::Startup(next.startup.clone()));
            }
            saves.push(StoreChange::Overlay(revision.revision, next.overlay.clone()));
            saves.push(StoreChange::Status(revision.clone()));
            (Some(revision), saves)
        };
        if let Some(revision) = &revision {
            let marker = revision.marker(&next.overlay);
            if let Err(failure) = self.complete(&mut update, &next.overlay, &marker) {
                return refuse(queued.id, failure, actions);
            }
        }
        let plan = Plan {
            goal: Goal::Change,
            queued: Some(queued),
            is_new: !saves.is_empty(),
            revision,
            overlay: next.overlay,
            startup: next.startup,
            update,
            read_back: next.read_back,
            named,
            is_published,
            // Without a state it was not judged yet, nor was the rest of the overlay.
            is_judged: is_unread || !in_place,
            was_corrected: false,
            request_id,
        };
        self.save(plan, saves, actions);
    }

    fn plan_rollback(
        &mut self,
        queued: Queued,
        loaded: Items,
        state: &Value,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let (goal, origin, reverts) = match &queued.job {
            Job::Rollback { origin, .. } => (Goal::Rollback, origin.clone(), self.book.current()),
            Job::TakeBack { revision } => {
                let origin = Origin {
                    operation: Operation::ManifestRollback.name().to_owned(),
                    request_id: rollback_id(*revision),
                    release: None,
                    rollback: RollbackMode::Off,
                };
                (Goal::TakeBack(*revision), origin, *revision)
            }
            Job::Change { .. } | Job::Confirm { .. } | Job::Settle { .. } => return,
        };
        let overlay = match goal {
            Goal::TakeBack(revision) => self.book.without(revision, &loaded),
            _ => loaded,
        };
        // Items that come into the overlay again have the startup manifest's value now.
        let mut startup = self.book.startup.clone();
        let values = items_of(state);
        let present: Items =
            values.iter().map(|(item, value)| (item.clone(), Some(value.clone()))).collect();
        for item in overlay.keys().filter(|item| !self.book.overlay.contains_key(item)) {
            startup.insert(item.clone(), values.get(item).cloned());
        }
        let differing = match plan::difference(&self.book.overlay, &overlay, &startup) {
            Ok(differing) => differing,
            Err(item) => {
                return self.fail(queued, Failure::StartupUnknown(item.mask()), now, actions);
            }
        };
        if differing.is_empty() && matches!(goal, Goal::TakeBack(_)) {
            // Later changes have touched all that it has changed.
            return self.taken_back(reverts, Ok(()), actions);
        }
        let revision = if differing.is_empty() {
            self.book.newest().cloned()
        } else {
            let mut revision =
                self.book.new_revision(origin.clone(), changes(&differing), now.wall);
            revision.reverts = Some(reverts);
            Some(revision)
        };
        let mut saves = Vec::new();
        if let (Some(revision), false) = (&revision, differing.is_empty()) {
            saves.push(StoreChange::Startup(startup.clone()));
            saves.push(StoreChange::Overlay(revision.revision, overlay.clone()));
            saves.push(StoreChange::Status(revision.clone()));
        }
        let Some(some) = &revision else {
            // There is nothing to go back from.
            return refuse(queued.id, self.book.unknown(0), actions);
        };
        let mut sent = differing.clone();
        if self.placement != Placement::InPlace {
            sent = overlay.iter().map(|(item, value)| (item.clone(), value.clone())).collect();
            sent.extend(differing.clone());
        }
        let mut update = match plan::update_of(&sent, &present, &some.marker(&overlay)) {
            Ok(update) => update,
            Err(error) => return self.fail(queued, error.into(), now, actions),
        };
        self.add_condition(&mut update);
        let named = plan::workload_names(&differing);
        let is_published = goal == Goal::Rollback;
        let plan = Plan {
            goal,
            queued: Some(queued),
            is_new: !saves.is_empty(),
            revision,
            overlay,
            startup,
            update,
            read_back: [].into(),
            named,
            is_published,
            is_judged: true,
            was_corrected: false,
            request_id: origin.request_id,
        };
        self.save(plan, saves, actions);
    }

    /// Adds to the update of a request what belongs to every update: the marker, the condition, and
    /// the rest of an overlay that is not in place.
    fn complete(
        &self,
        update: &mut UpdateStateRequest,
        overlay: &Items,
        marker: &Marker,
    ) -> Result<(), Failure> {
        let (size, max) = (plan::size_of(overlay, marker)?, self.options.max_update);
        if size > max {
            return Err(Failure::TooLarge { size, max });
        }
        if self.placement != Placement::InPlace {
            plan::add_items(update, overlay, &self.checked)?;
        }
        self.add_condition(update);
        Ok(plan::add_marker(update, marker)?)
    }

    /// Adds the condition that the current revision is still in place when Ankaios takes the update.
    fn add_condition(&self, update: &mut UpdateStateRequest) {
        if self.placement == Placement::InPlace
            && let Some(current) = self.book.newest()
        {
            plan::add_condition(update, current);
        }
    }

    /// Writes what a plan needs, and sends it afterwards.
    fn save(&mut self, plan: Plan, saves: Vec<StoreChange>, actions: &mut Vec<Action>) {
        if saves.is_empty() {
            return self.send(Box::new(plan), actions);
        }
        self.push_save(saves, actions);
        self.step = Step::Saving(Box::new(plan));
    }

    fn send(&mut self, plan: Box<Plan>, actions: &mut Vec<Action>) {
        if plan.goal == Goal::Restore
            && let Some(revision) = &plan.revision
        {
            // The counter is on the disk.
            self.book.revisions.insert(revision.revision, revision.clone());
        }
        let judge = plan.is_judged;
        actions.push(Action::Send { update: plan.update.clone(), judge, id: plan.id() });
        self.step = Step::Sending(plan);
    }

    /// Ankaios has taken the update.
    fn sent(&mut self, plan: Box<Plan>, success: UpdateStateSuccess, actions: &mut Vec<Action>) {
        if plan.read_back.is_empty() || !plan.is_new {
            return self.mark(plan, success, actions);
        }
        let masks = plan.read_back.iter().map(Item::mask).collect();
        actions.push(Action::Read { masks, id: None });
        self.step = Step::ReadingBack(plan, success);
    }

    /// Makes the revision of a plan the current one.
    fn mark(
        &mut self,
        mut plan: Box<Plan>,
        success: UpdateStateSuccess,
        actions: &mut Vec<Action>,
    ) {
        if plan.update.update_mask.iter().any(|mask| mask == marker::MASK) {
            self.book.doubt = None;
            self.placement = Placement::InPlace;
        }
        self.book.overlay = plan.overlay.clone();
        self.book.startup = plan.startup.clone();
        if !plan.is_new {
            return self.done(*plan, success, None, actions);
        }
        let mut saves = Vec::new();
        let follows = self.options.confirm_timeout.is_some();
        let Some(revision) = &mut plan.revision else { return };
        revision.in_doubt = false;
        if !follows {
            // Nobody says how it ends.
            revision.status = RevisionStatus::Succeeded;
            revision.has_succeeded = true;
        }
        if plan.was_corrected {
            saves.push(StoreChange::Overlay(revision.revision, plan.overlay.clone()));
        }
        saves.push(StoreChange::Status(revision.clone()));
        if let (Goal::Rollback | Goal::GiveUp, Some(reverted)) = (&plan.goal, revision.reverts)
            && let Some(reverted) = self.book.revisions.get_mut(&reverted)
        {
            reverted.status = RevisionStatus::RolledBack;
            reverted.confirm_by = None;
            self.confirm_by.remove(&reverted.revision);
            saves.push(StoreChange::Status(reverted.clone()));
        }
        self.book.revisions.insert(revision.revision, revision.clone());
        saves.extend(self.book.prune());
        self.push_save(saves, actions);
        self.step = Step::Marking(plan, success);
    }

    /// The plan is complete. `unsaved` is why the store does not know it yet.
    fn done(
        &mut self,
        plan: Plan,
        success: UpdateStateSuccess,
        unsaved: Option<StoreError>,
        actions: &mut Vec<Action>,
    ) {
        let restarted = plan::restarted(&plan.overlay);
        let id = plan.id();
        let Plan { goal, revision, is_new, named, is_published, request_id, .. } = plan;
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
        if is_restore {
            // The rollouts of earlier revisions begin anew as well.
            self.resumed = true;
            let all = self.book.revisions.range(..number).map(|(_, one)| one);
            let in_progress = all.filter(|one| one.status == RevisionStatus::InProgress);
            let follows = in_progress.map(|one| Action::Follow(self.book.resumed_rollout(one)));
            actions.extend(follows.collect::<Vec<_>>());
            self.take_failed_back(actions);
        }
    }

    /// Ankaios has not taken the update, or it is not known whether it has.
    fn not_sent(&mut self, plan: Plan, error: SendError, now: Now, actions: &mut Vec<Action>) {
        let doubtful = error.is_doubtful();
        if doubtful && plan.is_new {
            self.book.doubt =
                plan.revision.clone().map(|revision| (revision, plan.overlay.clone()));
            self.check_due = true;
        }
        match plan.goal {
            // Ankaios may have got it, so the next attempt counts.
            Goal::Restore | Goal::GiveUp if doubtful => self.retry(now, RETRY),
            Goal::Restore | Goal::GiveUp => {
                // It was not tried.
                self.repeats_try = plan.goal == Goal::Restore;
                self.refuse_restore(error.to_string(), actions);
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
    fn verified(
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
    fn fail_plan(&mut self, plan: Plan, failure: Failure, now: Now, actions: &mut Vec<Action>) {
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

    /// Ends a job without success. One of the core itself is tried again if that may help.
    fn fail(&mut self, queued: Queued, failure: Failure, now: Now, actions: &mut Vec<Action>) {
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

    /// Records the end of a rollout, and takes the revision back if it has to be.
    fn settle(&mut self, number: u64, end: RolloutStatus, now: Now, actions: &mut Vec<Action>) {
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

    /// Whether a revision was taken back, or is about to be.
    fn is_taken_back(&self, number: u64) -> bool {
        let is_queued = |queued: &Queued| matches!(queued.job, Job::TakeBack { revision } if revision == number);
        let current = match &self.step {
            Step::Loading(queued) | Step::Reading(queued, _) => Some(queued),
            Step::Saving(plan)
            | Step::Sending(plan)
            | Step::Verifying(plan, _)
            | Step::ReadingBack(plan, _)
            | Step::Marking(plan, _) => plan.queued.as_ref(),
            _ => None,
        };
        self.book.is_reverted(number) || self.queue.iter().chain(current).any(is_queued)
    }

    /// Queues the rollback of a revision.
    fn take_back(&mut self, revision: u64, actions: &mut Vec<Action>) {
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
    fn taken_back(&mut self, number: u64, result: Result<(), String>, actions: &mut Vec<Action>) {
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
    fn confirm(&mut self, queued: Queued, number: u64, now: Now, actions: &mut Vec<Action>) {
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

    /// Writes a change of a status, together with one that is about to be written.
    fn record_status(&mut self, change: StoreChange, actions: &mut Vec<Action>) {
        let saves = actions.iter_mut().rev().find_map(|action| match action {
            Action::Save(changes) => Some(changes),
            _ => None,
        });
        match saves {
            Some(changes) if matches!(self.step, Step::Recording(_)) => {
                changes.push(change.clone());
                self.saving.push(change);
            }
            _ => self.record(vec![change], None, actions),
        }
    }

    /// Sets when revisions are taken back that wait for their confirmation. The clock may have
    /// been set since, so a revision waits at most as long as a new one.
    fn set_confirm_deadlines(&mut self, now: Now) {
        let Some(limit) = self.options.confirm_timeout else { return };
        for revision in self.book.revisions.values() {
            if revision.status != RevisionStatus::Unconfirmed {
                continue;
            }
            let due = revision.confirm_by.as_deref().and_then(rfc3339::parse);
            let left = due.and_then(|due| due.duration_since(now.wall).ok()).unwrap_or_default();
            let deadline = now.monotonic + left.min(limit);
            self.confirm_by.entry(revision.revision).or_insert(deadline);
        }
    }
}

/// Answers a request with an error.
fn refuse(id: Option<JobId>, failure: Failure, actions: &mut Vec<Action>) {
    if let Some(id) = id {
        actions.push(Action::Answer { id, result: Err(failure) });
    }
}

/// The items that have another value than `present`.
fn different(items: &Items, present: &Items) -> Items {
    let differing = items.iter().filter(|(item, value)| present.get(item) != Some(value));
    differing.map(|(item, value)| (item.clone(), value.clone())).collect()
}
