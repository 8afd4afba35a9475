//! The check of the marker: whether Ankaios has the current revision, and what follows if not.

use ankaios_model::proto::ank_base::UpdateStateSuccess;
use serde_json::Value;

use super::book::{Doubt, Finding};
use super::event::{Action, Now};
use super::overlay;
use super::plan::Plan;
use super::state::{Core, Placement, Step};
use crate::revisions::item::{Item, Items, items_of};
use crate::revisions::marker::Marker;
use crate::revisions::revision::{Revision, changes};
use crate::revisions::store::StoreChange;

impl Core {
    /// Handles what a check has read: the marker, and what Ankaios has for the items of the
    /// overlay.
    pub(super) fn checked(&mut self, state: &Value, now: Now, actions: &mut Vec<Action>) {
        self.seen = Marker::of(state);
        match self.book.find(self.seen.as_ref()) {
            Finding::InPlace => {
                self.book.doubt = None;
                self.placement = Placement::InPlace;
                match self.unanswered.take() {
                    Some(plan) => {
                        self.done(*plan, UpdateStateSuccess::default(), None, now, actions);
                    }
                    None => self.resume(now, actions),
                }
            }
            Finding::Decided => self.decide(now, actions),
            Finding::Foreign(marker) => {
                tracing::warn!(
                    revision = marker.revision,
                    current = self.book.current(),
                    "Ankaios has a revision of another connector: it is taken over"
                );
                let masks = overlay::masks_of_items(&marker.items);
                actions.push(Action::Read { masks, id: None });
                self.step = Step::Adopting(marker);
            }
            // Nothing has changed since it was refused.
            Finding::Lost
                if self.is_refused_at(self.seen.as_ref())
                    && self.book.doubt.is_none()
                    && self.unanswered.is_none() => {}
            Finding::Lost => {
                self.book.doubt = None;
                self.unanswered = None;
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
        let Some(Doubt { revision, overlay, startup }) = self.book.doubt.take() else { return };
        tracing::info!(revision = revision.revision, "Ankaios has the revision that was in doubt");
        let unanswered = self.unanswered.take();
        // After a refused restoration, a change has brought all of the overlay.
        let brings_all =
            self.resumed && unanswered.is_none() && self.placement != Placement::InPlace;
        let saves = self.make_current(revision.clone(), overlay, startup);
        self.record(saves, actions);
        self.follow_found(&revision, unanswered, now, actions);
        if brings_all {
            self.resume_up_to(revision.revision.saturating_sub(1), now, actions);
        }
    }

    /// Follows the rollout of the current revision, which a check has found.
    fn follow_found(
        &mut self,
        revision: &Revision,
        unanswered: Option<Box<Plan>>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        match unanswered {
            Some(plan) => self.done(*plan, UpdateStateSuccess::default(), None, now, actions),
            None if self.resumed && self.follows() => {
                actions.push(Action::Follow(self.book.resumed_rollout(revision)));
            }
            None => self.resume(now, actions),
        }
    }

    /// Takes over a revision of another connector. `state` has its items.
    pub(super) fn adopt(
        &mut self,
        marker: &Marker,
        state: &Value,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if Marker::of(state).as_ref() != Some(marker) {
            // It has changed meanwhile.
            self.check_due = true;
            return;
        }
        let values = items_of(state);
        let value = |item: &Item| values.get(item).cloned();
        let overlay: Items = marker.items.iter().map(|item| (item.clone(), value(item))).collect();
        let changed = overlay::changed_items(&self.book.overlay, &overlay, &self.book.startup);
        let revision = Revision::adopted(marker, changes(&changed), now.wall);
        let mut saves = vec![StoreChange::Overlay(revision.revision, overlay.clone())];
        saves.extend(self.make_current(revision.clone(), overlay, self.book.startup.clone()));
        self.record(saves, actions);
        self.unanswered = None;
        self.follow_found(&revision, None, now, actions);
    }
}
