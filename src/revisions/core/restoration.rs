//! Restoration: what is put back after Ankaios has started anew, and how often.

use fleet_contract::operation::Operation;
use fleet_contract::revision::RollbackMode;

use super::event::{Action, Now};
use super::plan::{Goal, Plan};
use super::state::{Core, Placement, Step};
use super::{overlay, update};
use crate::revisions::item::Items;
use crate::revisions::revision::{MAX_TRIES, Origin, changes, rollback_id};
use crate::revisions::store::StoreChange;

impl Core {
    /// Puts the overlay back. `checked` has what the startup manifest has for its items.
    pub(super) fn restore(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Some(current) = self.book.newest() else { return };
        if !current.has_succeeded && current.tries >= MAX_TRIES {
            let current = current.revision;
            self.fall_back_before(current, now, actions);
            return;
        }
        let mut revision = current.clone();
        let mut saves = Vec::new();
        let startup = self.startup_of_check();
        if startup != self.book.startup {
            saves.push(StoreChange::Startup(startup.clone()));
        }
        if !revision.has_succeeded {
            revision.tries += 1;
            saves.push(StoreChange::Status(revision.clone()));
        }
        let differing = overlay::different(&self.book.overlay, &self.checked);
        tracing::warn!(
            revision = revision.revision,
            items = differing.len(),
            attempt = revision.tries,
            "Ankaios has started anew: what operators have changed is put back"
        );
        let marker = revision.marker(&self.book.overlay);
        let update = match update::update_of(&differing, &self.checked, &marker) {
            Ok(update) => update,
            Err(error) => return self.refuse_restore(error.to_string(), actions),
        };
        let named = overlay::workload_names(&differing);
        let plan = Plan {
            goal: Goal::Restore,
            queued: None,
            is_new: false,
            brings_all: false,
            overlay: self.book.overlay.clone(),
            startup,
            update,
            read_back: [].into(),
            named,
            is_published: true,
            must_be_judged: true,
            was_corrected: false,
            request_id: restore_id(revision.revision),
            revision: Some(revision),
        };
        self.save(plan, saves, actions);
    }

    /// The values of the startup manifest after a check. Those of other items belong to an earlier
    /// start. With an earlier marker there was no start: another replica has put its overlay back.
    pub(super) fn startup_of_check(&self) -> Items {
        if self.seen.is_none() { self.checked.clone() } else { self.book.startup.clone() }
    }

    /// Ankaios cannot be sent the overlay.
    pub(super) fn refuse_restore(&mut self, reason: String, actions: &mut Vec<Action>) {
        tracing::error!(reason, "what operators have changed cannot be put back");
        actions.push(Action::CountRestoration { outcome: "refused" });
        // An event of the marker that was read may have come meanwhile.
        self.check_due = false;
        self.placement = Placement::Refused { reason, seen: self.seen.clone() };
    }

    /// Ankaios has refused the current revision, so it was not tried.
    pub(super) fn uncount_try(&mut self, actions: &mut Vec<Action>) {
        let current = self.book.current();
        let Some(revision) = self.book.revisions.get_mut(&current) else { return };
        if revision.tries > 0 {
            revision.tries -= 1;
            let change = StoreChange::Status(revision.clone());
            self.record_status(change, actions);
        }
    }

    /// Loads the newest revision before this one whose workloads have stayed up, to put it back.
    /// Without one, the startup manifest is left as it is.
    pub(super) fn fall_back_before(&mut self, revision: u64, now: Now, actions: &mut Vec<Action>) {
        match self.book.last_stable_before(revision) {
            0 => self.give_up(0, Items::new(), now, actions),
            number => {
                actions.push(Action::Load(number));
                self.step = Step::LoadingFallback(number);
            }
        }
    }

    /// Puts the overlay of an earlier revision back instead of the current one.
    pub(super) fn give_up(
        &mut self,
        target: u64,
        overlay: Items,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(current) = self.book.newest().cloned() else { return };
        let startup = self.startup_of_check();
        let reason = format!(
            "revision {} was put back {MAX_TRIES} times and never succeeded, so revision {target} \
             was taken instead",
            current.revision
        );
        tracing::error!("{reason}");
        // Nothing of the current overlay is in place.
        let differing = overlay::different(&overlay, &self.checked);
        let changed =
            overlay::difference(&self.book.overlay, &overlay, &startup).unwrap_or_default();
        let origin = Origin {
            operation: Operation::ManifestRollback.name().to_owned(),
            request_id: rollback_id(current.revision),
            release: self.book.release_of(target),
            signed: None,
            rollback: RollbackMode::Off,
        };
        let mut revision = self.book.new_revision(origin, changes(&changed), now.wall);
        revision.reverts = Some(current.revision);
        revision.given_up = Some(reason);
        revision.has_succeeded = true;
        let update = match update::update_of(&differing, &self.checked, &revision.marker(&overlay))
        {
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
            brings_all: false,
            overlay,
            startup,
            update,
            read_back: [].into(),
            named: [].into(),
            is_published: true,
            must_be_judged: true,
            was_corrected: false,
            request_id: restore_id(revision.revision),
            revision: Some(revision),
        };
        self.save(plan, saves, actions);
    }
}

/// The request id in messages about the rollout of a revision that is put back.
pub(super) fn restore_id(revision: u64) -> String {
    format!("restore-{revision}")
}
