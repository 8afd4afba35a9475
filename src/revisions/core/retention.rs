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

    /// The current revision and those on trial, what they go back to, and what takes them back. Also
    /// what a later change of the same items goes back to.
    fn needed(&self) -> BTreeSet<u64> {
        let current = self.current();
        let mut needed = BTreeSet::from([current, self.last_stable_before(current)]);
        needed.extend(self.possible_sources(u64::MAX, self.unsettled_items()));
        for trial in self.revisions.values().filter(|one| one.is_on_trial()) {
            needed.insert(trial.revision);
            needed.extend(self.possible_sources(trial.revision, trial.changed.keys()));
            let reverting =
                self.revisions.values().filter(|one| one.reverts == Some(trial.revision));
            needed.extend(reverting.map(|one| one.revision));
        }
        needed
    }

    /// Notes what others have to know about this revision, because it is about to be removed: earlier
    /// ones, what it has changed; the next one, which of its values have not succeeded. Returns those
    /// that have changed.
    fn note_changes_of(&mut self, number: u64) -> Vec<u64> {
        let Some(one) = self.revisions.get(&number) else { return Vec::new() };
        let (changed, changed_since) = (one.changed.clone(), one.changed_since.clone());
        let unproven = self.unproven_values(one);
        let mut noted = Vec::new();
        if let Some((next, one)) = self.revisions.range_mut(number + 1..).next() {
            for item in unproven {
                let since = changed_since.get(&item);
                let has_its_value = since.is_none_or(|since| since > next);
                if has_its_value && !one.changed.contains_key(&item) {
                    since.into_iter().for_each(|since| one.note_change(&item, *since));
                    one.unproven.insert(item);
                    noted.push(*next);
                }
            }
        }
        for (earlier, one) in self.revisions.range_mut(..number) {
            let items = one.changed.keys().chain(&one.unproven);
            let items: Vec<_> = items.filter(|item| changed.contains_key(item)).cloned().collect();
            for item in items {
                one.note_change(&item, number);
                noted.push(*earlier);
            }
        }
        noted
    }
}
