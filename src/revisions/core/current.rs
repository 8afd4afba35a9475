//! What happens to the revisions that are kept when one becomes the current one.

use fleet_contract::revision::RevisionStatus;

use super::state::{Core, Placement};
use crate::revisions::item::Items;
use crate::revisions::revision::Revision;
use crate::revisions::store::StoreChange;

impl Core {
    /// Makes a revision the current one: Ankaios has it. Returns what the store has to know.
    pub(super) fn make_current(
        &mut self,
        mut revision: Revision,
        overlay: Items,
        startup: Items,
    ) -> Vec<StoreChange> {
        revision.in_doubt = false;
        if !self.follows() {
            // Nobody says how it ends.
            revision.status = RevisionStatus::Succeeded;
            revision.has_succeeded = true;
        }
        self.book.doubt = None;
        self.book.overlay = overlay;
        self.book.startup = startup;
        self.placement = Placement::InPlace;
        let mut saves = vec![StoreChange::Status(revision.clone())];
        // That of a trial ends with the rollout of the revision that takes it back.
        let is_trial = revision.is_automatic() && revision.given_up.is_none();
        if let Some(reverted) = revision.reverts.filter(|_| !is_trial)
            && let Some(reverted) = self.book.revisions.get_mut(&reverted)
        {
            reverted.status = RevisionStatus::RolledBack;
            reverted.confirm_by = None;
            self.confirm_by.remove(&reverted.revision);
            saves.push(StoreChange::Status(reverted.clone()));
        }
        self.book.revisions.insert(revision.revision, revision);
        saves.extend(self.book.prune());
        saves
    }
}
