//! The plan of a rollback: one that an operator requests, or the end of a trial.

use std::collections::BTreeSet;

use fleet_contract::operation::Operation;
use fleet_contract::revision::RollbackMode;
use serde_json::Value;

use super::event::{Action, Now};
use super::job::{Failure, Job, Queued};
use super::plan::{Draft, Goal, Plan};
use super::state::{Core, Placement, Step, refuse};
use super::{overlay, update};
use crate::revisions::item::{Item, Items, items_of};
use crate::revisions::revision::{Origin, changes, rollback_id};
use crate::revisions::store::StoreChange;

impl Core {
    /// Reads the marker and what differs, for a rollback to this overlay.
    pub(super) fn read_for_rollback(
        &mut self,
        queued: Queued,
        overlay: Items,
        has_succeeded: bool,
        actions: &mut Vec<Action>,
    ) {
        let differing = |item: &&Item| self.book.overlay.get(*item) != overlay.get(*item);
        let items = self.book.overlay.keys().chain(overlay.keys()).filter(differing);
        let masks = overlay::masks_of_items(items.collect::<BTreeSet<_>>());
        actions.push(Action::Read { masks, id: queued.id });
        self.step = Step::Reading(queued, Draft::Rollback { overlay, has_succeeded });
    }

    /// Plans a rollback to this overlay. `state` has what Ankaios has for the items that differ.
    pub(super) fn plan_rollback(
        &mut self,
        queued: Queued,
        overlay: Items,
        has_succeeded: bool,
        state: &Value,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let (goal, origin, reverts) = match &queued.job {
            Job::Rollback { origin, target } => {
                if let Err(failure) = self.book.check_serial(origin) {
                    return refuse(queued.id, failure, actions);
                }
                let target = self.book.rollback_target(target).unwrap_or_default();
                let release = origin.release.clone().or_else(|| self.book.release_of(target));
                (Goal::Rollback, Origin { release, ..origin.clone() }, self.book.current())
            }
            Job::TakeBack { revision } => {
                let origin = Origin {
                    operation: Operation::ManifestRollback.name().to_owned(),
                    request_id: rollback_id(*revision),
                    release: self.book.release_without(*revision),
                    signed: None,
                    rollback: RollbackMode::Off,
                };
                (Goal::TakeBack(*revision), origin, *revision)
            }
            Job::Change { .. } | Job::Confirm { .. } | Job::Settle { .. } => return,
        };
        // Items that come into the overlay again have the startup manifest's value now.
        let mut startup = self.book.startup.clone();
        let values = items_of(state);
        let read: Items =
            values.iter().map(|(item, value)| (item.clone(), Some(value.clone()))).collect();
        for item in overlay.keys().filter(|item| !self.book.overlay.contains_key(item)) {
            startup.insert(item.clone(), values.get(item).cloned());
        }
        let differing = match overlay::difference(&self.book.overlay, &overlay, &startup) {
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
            revision.has_succeeded = has_succeeded;
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
        let (mut sent, mut present) = (differing.clone(), read);
        if self.placement != Placement::InPlace {
            // The rest of the overlay was read by the check.
            let checked = self.checked.iter().filter(|(item, _)| !differing.contains_key(item));
            present.extend(checked.map(|(item, value)| (item.clone(), value.clone())));
            sent = overlay.iter().map(|(item, value)| (item.clone(), value.clone())).collect();
            sent.extend(differing.clone());
        }
        let mut update = match update::update_of(&sent, &present, &some.marker(&overlay)) {
            Ok(update) => update,
            Err(error) => return self.fail(queued, error.into(), now, actions),
        };
        self.add_condition(&mut update);
        let named = overlay::workload_names(&differing);
        let is_published = goal == Goal::Rollback;
        let plan = Plan {
            goal,
            queued: Some(queued),
            is_new: !saves.is_empty(),
            brings_all: false,
            revision,
            overlay,
            startup,
            update,
            read_back: [].into(),
            named,
            is_published,
            must_be_judged: true,
            was_corrected: false,
            request_id: origin.request_id,
        };
        self.save(plan, saves, actions);
    }
}
