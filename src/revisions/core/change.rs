//! The plan of a change that an operator requests.

use ankaios_model::proto::ank_base::UpdateStateRequest;
use serde_json::Value;

use super::event::{Action, Now};
use super::job::{Failure, Job, Queued};
use super::plan::{Goal, Plan};
use super::state::{Core, Placement, refuse};
use super::{overlay, update};
use crate::revisions::item::Items;
use crate::revisions::marker::Marker;
use crate::revisions::revision::changes;
use crate::revisions::store::StoreChange;

impl Core {
    /// Sends an update that touches nothing that revisions contain.
    pub(super) fn pass_through(&mut self, queued: Queued, actions: &mut Vec<Action>) {
        let Job::Change { origin, update, named, is_published } = queued.job.clone() else {
            return;
        };
        if let Err(failure) = self.book.check_serial(&origin) {
            return refuse(queued.id, failure, actions);
        }
        let plan = Plan {
            goal: Goal::Change,
            queued: Some(queued),
            revision: self.book.newest().cloned(),
            is_new: false,
            brings_all: false,
            overlay: self.book.overlay.clone(),
            startup: self.book.startup.clone(),
            update,
            read_back: [].into(),
            named,
            is_published,
            // No state was read for the guard.
            must_be_judged: true,
            was_corrected: false,
            request_id: origin.request_id,
        };
        self.send(Box::new(plan), actions);
    }

    pub(super) fn plan_change(
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
        if let Err(failure) = self.book.check_serial(&origin) {
            return refuse(queued.id, failure, actions);
        }
        let next = overlay::next_overlay(&self.book.overlay, &self.book.startup, &update, state);
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
            brings_all: false,
            revision,
            overlay: next.overlay,
            startup: next.startup,
            update,
            read_back: next.read_back,
            named,
            is_published,
            // Without a state it was not judged yet, nor was the rest of the overlay.
            must_be_judged: is_unread || !in_place,
            was_corrected: false,
            request_id,
        };
        self.save(plan, saves, actions);
    }

    /// Adds to the update of a request what belongs to every update: the marker, the condition, and
    /// the rest of an overlay that is not in place.
    pub(super) fn complete(
        &self,
        update: &mut UpdateStateRequest,
        overlay: &Items,
        marker: &Marker,
    ) -> Result<(), Failure> {
        let (size, max) = (update::size_of(overlay, marker)?, self.options.max_update);
        if size > max {
            return Err(Failure::TooLarge { size, max });
        }
        if self.placement != Placement::InPlace {
            update::add_items(update, overlay, &self.checked)?;
        }
        self.add_condition(update);
        Ok(update::add_marker(update, marker)?)
    }
}
