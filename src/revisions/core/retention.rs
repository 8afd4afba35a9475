//! Retention: which revisions are kept.

use std::collections::BTreeSet;

use super::book::Book;
use crate::revisions::store::StoreChange;

impl Book {
    /// Removes the oldest revisions above the limit, but not those that others refer to. Above twice
    /// the limit the oldest of these goes as well. Returns what the store has to know.
    pub(super) fn prune(&mut self) -> Vec<StoreChange> {
        let current = self.current();
        let (mut removed, mut noted) = (Vec::new(), BTreeSet::new());
        while self.revisions.len() > self.history {
            let needed = self.needed();
            let is_full = self.revisions.len() > 2 * self.history;
            let mut numbers = self.revisions.keys().copied();
            let oldest =
                numbers.find(|number| !needed.contains(number) || (is_full && *number != current));
            let Some(oldest) = oldest else { break };
            noted.extend(self.note_changes_of(oldest));
            self.revisions.remove(&oldest);
            removed.push(StoreChange::Remove(oldest));
        }
        let noted = noted.iter().filter_map(|number| self.revisions.get(number));
        noted.cloned().map(StoreChange::Status).chain(removed).collect()
    }

    /// The current revision and those on trial, what they go back to, and what takes them back.
    fn needed(&self) -> BTreeSet<u64> {
        let current = self.current();
        let mut needed = BTreeSet::from([current, self.last_succeeded_before(current)]);
        for trial in self.revisions.values().filter(|one| one.is_on_trial()) {
            needed.insert(trial.revision);
            needed.extend(self.values_before(trial.revision).into_keys());
            let reverting =
                self.revisions.values().filter(|one| one.reverts == Some(trial.revision));
            needed.extend(reverting.map(|one| one.revision));
        }
        needed
    }

    /// Notes in earlier revisions on trial what this one has changed, because it is about to be
    /// removed. Returns those that have changed.
    fn note_changes_of(&mut self, number: u64) -> Vec<u64> {
        let Some(changed) = self.revisions.get(&number).map(|one| one.changed.clone()) else {
            return Vec::new();
        };
        let mut noted = Vec::new();
        let trials = self.revisions.range_mut(..number).map(|(_, one)| one);
        for trial in trials.filter(|one| one.is_on_trial()) {
            let items = trial.changed.keys().filter(|item| changed.contains_key(item));
            let items: BTreeSet<_> = items.cloned().collect();
            if !items.is_subset(&trial.changed_since) {
                trial.changed_since.extend(items);
                noted.push(trial.revision);
            }
        }
        noted
    }
}
