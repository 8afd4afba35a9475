//! The check of the marker: whether Ankaios has the current revision, and what follows if not.

use serde_json::Value;

use super::book::Finding;
use super::event::{Action, Now};
use super::overlay;
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
                self.in_place(now, actions);
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
    pub(super) fn decide(&mut self, now: Now, actions: &mut Vec<Action>) {
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

    pub(super) fn in_place(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.placement = Placement::InPlace;
        self.resume(now, actions);
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
}
