//! What the revisions that are kept say about the past: what a rollback goes back to, and which
//! values have succeeded.

use std::collections::{BTreeMap, BTreeSet};

use fleet_contract::revision::RevisionStatus;

use super::book::Book;
use super::job::{Failure, RollbackTarget};
use crate::revisions::item::{Item, Items};
use crate::revisions::revision::{Origin, Revision};

impl Book {
    /// The revision that a rollback goes back to.
    pub(super) fn rollback_target(&self, target: &RollbackTarget) -> Result<u64, Failure> {
        let RollbackTarget { revision, if_current, rollout } = target;
        let current = self.current();
        if let Some(expected) = if_current.filter(|expected| *expected != current) {
            return Err(Failure::Rejected(format!(
                "the current revision is {current}, not {expected}; nothing was done"
            )));
        }
        if let Some(rollout) = rollout {
            let made_by = self.revisions.get(&current).map_or("", |one| one.request_id.as_str());
            if made_by.strip_prefix(rollout.as_str()).is_none_or(|rest| !rest.starts_with('/')) {
                return Err(Failure::Rejected(format!(
                    "revision {current} was made by the request {made_by:?}, which does not \
                     belong to the rollout {rollout:?}; nothing was done"
                )));
            }
        }
        match revision {
            _ if current == 0 => Err(Failure::NotFound(
                "there is no revision to go back from: operators have changed nothing".into(),
            )),
            None if current == 1 => Ok(0),
            None => match self.revisions.range(..current).next_back() {
                Some((number, _)) => Ok(*number),
                None => Err(self.unknown(current - 1)),
            },
            Some(revision) => self.kept(*revision),
        }
    }

    /// The number of the revision that this request for a rollback has led to, if operators have
    /// changed nothing since.
    pub(super) fn made_by(&self, origin: &Origin) -> Option<u64> {
        let newest = self.revisions.values().rev().find(|one| !one.is_automatic())?;
        let is_made = match &origin.signed {
            // Its id is not signed: whoever delivers it again can give it another one. A later signed
            // change has a higher serial.
            Some(signed) => newest.highest_serial.as_ref() == Some(&signed.serial),
            None => newest.reverts.is_some() && newest.request_id == origin.request_id,
        };
        is_made.then_some(newest.revision)
    }

    /// The newest revision before this one whose workloads have stayed up; 0 is the startup manifest.
    pub(super) fn last_stable_before(&self, revision: u64) -> u64 {
        let mut earlier = self.revisions.range(..revision).rev();
        earlier.find(|(_, one)| has_stayed_up(one)).map_or(0, |(number, _)| *number)
    }

    /// Whether the workloads of a revision have stayed up, and it was not undone. 0 is the startup
    /// manifest.
    pub(super) fn has_stayed_up(&self, revision: u64) -> bool {
        revision == 0 || self.revisions.get(&revision).is_some_and(has_stayed_up)
    }

    /// The release once this revision is taken back.
    pub(super) fn release_without(&self, revision: u64) -> Option<String> {
        let current = self.current();
        let left = if current == revision { self.last_stable_before(revision) } else { current };
        self.release_of(left)
    }

    /// Where the items of a revision that is taken back have their values: the items by revision.
    /// Those that go back to the startup manifest's are missing, and those that a later revision
    /// has changed.
    pub(super) fn values_before(&self, revision: u64) -> BTreeMap<u64, BTreeSet<Item>> {
        let mut sources: BTreeMap<u64, BTreeSet<Item>> = BTreeMap::new();
        let items = self.revisions.get(&revision).map(|one| one.changed.keys());
        for item in items.into_iter().flatten() {
            if !self.is_changed_after(revision, item)
                && let Some(source) = self.source_before(revision, item)
            {
                sources.entry(source).or_default().insert(item.clone());
            }
        }
        sources
    }

    /// The newest revision before this one whose value of an item has succeeded: the revision has,
    /// and the one that has set the value has not failed.
    pub(super) fn source_before(&self, revision: u64, item: &Item) -> Option<u64> {
        self.sources(revision, item).0
    }

    /// The source of an item's value, and the revisions that would be the source instead if one in
    /// progress succeeds.
    fn sources(&self, revision: u64, item: &Item) -> (Option<u64>, Vec<u64>) {
        // The newest one that has succeeded with the value that is looked at.
        let (mut source, mut possible) = (None, Vec::new());
        for (number, one) in self.revisions.range(..revision).rev() {
            let removed = one.changed_since.get(item);
            if removed.is_some_and(|removed| source.is_some_and(|source| source > *removed)) {
                // A value that has not succeeded would have been noted.
                break;
            }
            let is_set = one.changed.contains_key(item);
            // One that was undone later says nothing about the values that it has set itself.
            if one.rollout_has_succeeded() {
                source.get_or_insert(*number);
            }
            if is_set && may_have_good_values(one) && source.is_some() {
                break;
            }
            if is_set && one.status == RevisionStatus::InProgress {
                possible.extend(source);
            }
            // Here the value was set that has not succeeded.
            if one.unproven.contains(item) || (is_set && !may_have_good_values(one)) {
                source = None;
            }
        }
        // At the end of the loop, the one that has set the value is no longer kept.
        (source, possible)
    }

    /// The items whose values have not succeeded, as far as this revision or one before it that is no
    /// longer kept has set them.
    pub(super) fn unproven_values(&self, revision: &Revision) -> BTreeSet<Item> {
        let of_earlier = revision.unproven.iter();
        let own = revision.changed.keys().filter(|_| !may_have_good_values(revision));
        of_earlier.chain(own).cloned().collect()
    }

    /// The items that were changed by revisions that have not succeeded.
    pub(super) fn unsettled_items(&self) -> BTreeSet<&Item> {
        let unsettled = self.revisions.values().filter(|one| !has_good_values(one));
        let changed = unsettled.flat_map(|one| one.changed.keys());
        changed.chain(self.revisions.values().flat_map(|one| &one.unproven)).collect()
    }

    /// Where items have their newest values before this revision that have succeeded, or that will
    /// have if those in progress succeed.
    pub(super) fn possible_sources<'a>(
        &self,
        revision: u64,
        items: impl IntoIterator<Item = &'a Item>,
    ) -> BTreeSet<u64> {
        let sources = items.into_iter().map(|item| self.sources(revision, item));
        sources.flat_map(|(source, possible)| source.into_iter().chain(possible)).collect()
    }

    /// The overlay without what a revision has changed: its items have the values of `succeeded`
    /// again, unless a later revision has touched them.
    pub(super) fn without(&self, revision: u64, succeeded: &Items) -> Items {
        let mut overlay = self.overlay.clone();
        let items = self.revisions.get(&revision).map(|one| one.changed.keys());
        for item in items.into_iter().flatten() {
            if self.is_changed_after(revision, item) {
                continue;
            }
            match succeeded.get(item) {
                Some(value) => overlay.insert(item.clone(), value.clone()),
                None => overlay.remove(item),
            };
        }
        overlay
    }
}

/// Whether the values that a revision has set are good if a later one has succeeded with them.
fn may_have_good_values(revision: &Revision) -> bool {
    has_good_values(revision) || revision.status == RevisionStatus::Superseded
}

/// Whether the rollout of a revision has succeeded, and the revision was not undone.
fn has_good_values(revision: &Revision) -> bool {
    let is_undone =
        matches!(revision.status, RevisionStatus::RolledBack | RevisionStatus::Unconfirmed);
    revision.rollout_has_succeeded() && !is_undone
}

/// Whether the workloads of a revision have stayed up, and the revision was not undone.
fn has_stayed_up(revision: &Revision) -> bool {
    revision.has_succeeded && has_good_values(revision)
}
