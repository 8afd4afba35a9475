//! A model of the store in memory.

use super::*;

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Model {
    statuses: BTreeMap<u64, Revision>,
    overlays: BTreeMap<u64, Items>,
    startup: Items,
}

impl Model {
    pub(super) fn after(saves: &[Vec<StoreChange>]) -> Self {
        let mut model = Self::default();
        saves.iter().flatten().for_each(|change| model.apply(change));
        model
    }

    fn apply(&mut self, change: &StoreChange) {
        match change.clone() {
            StoreChange::Startup(items) => self.startup = items,
            StoreChange::Overlay(number, items) => {
                self.overlays.insert(number, items);
            }
            StoreChange::Status(revision) => {
                self.statuses.insert(revision.revision, revision);
            }
            StoreChange::Remove(number) => {
                self.statuses.remove(&number);
                self.overlays.remove(&number);
            }
        }
    }

    pub(super) fn with(mut self, changes: &[StoreChange]) -> Self {
        changes.iter().for_each(|change| self.apply(change));
        self
    }

    /// The states that a failed save can leave: each after some of the first changes. An overlay
    /// and the status that follows it are one change.
    pub(super) fn after_some(&self, changes: &[StoreChange]) -> Vec<Self> {
        let mut model = self.clone();
        let mut states = vec![model.clone()];
        for (index, change) in changes.iter().enumerate() {
            model.apply(change);
            let is_half = matches!(
                (change, changes.get(index + 1)),
                (StoreChange::Overlay(number, _), Some(StoreChange::Status(revision)))
                    if *number == revision.revision
            );
            if !is_half {
                states.push(model.clone());
            }
        }
        states
    }

    /// Removes what opening the store removes: revisions without one of their files, and those in
    /// doubt that are not the newest.
    pub(super) fn reopened(mut self) -> Self {
        self.overlays.retain(|number, _| self.statuses.contains_key(number));
        self.statuses.retain(|number, _| self.overlays.contains_key(number));
        let newest = self.statuses.keys().next_back().copied();
        self.statuses.retain(|number, status| !status.in_doubt || Some(*number) == newest);
        self.overlays.retain(|number, _| self.statuses.contains_key(number));
        self
    }

    /// What the store contains when it is opened.
    pub(super) fn contents(&self) -> Contents {
        let Self { statuses, overlays, startup } = self.clone().reopened();
        let newest = |in_doubt| {
            let mut found = statuses.values().rev().filter(|one| one.in_doubt == in_doubt);
            found.next().and_then(|one| overlays.get(&one.revision)).cloned()
        };
        Contents {
            overlay: newest(false).unwrap_or_default(),
            in_doubt: newest(true),
            revisions: statuses,
            startup,
        }
    }

    pub(super) fn overlays(&self) -> &BTreeMap<u64, Items> {
        &self.overlays
    }
}
