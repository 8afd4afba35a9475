//! The values that the items of a trial go back to, loaded from one revision after the other.

use super::event::{Action, Now};
use super::job::{Failure, Queued};
use super::plan::Gathering;
use super::state::{Core, Step};
use crate::revisions::item::Items;
use crate::revisions::store::StoreError;

impl Core {
    /// Starts to take a revision back.
    pub(super) fn gather(&mut self, queued: Queued, revision: u64, actions: &mut Vec<Action>) {
        let wanted = self.book.values_before(revision);
        self.gather_next(queued, Gathering { revision, wanted, found: Items::new() }, actions);
    }

    /// Loads the next revision that has values; after the last one, reads what Ankaios has.
    fn gather_next(&mut self, queued: Queued, gathering: Gathering, actions: &mut Vec<Action>) {
        if let Some(number) = gathering.wanted.keys().next() {
            actions.push(Action::Load(*number));
            self.step = Step::Gathering(queued, gathering);
        } else {
            let overlay = self.book.without(gathering.revision, &gathering.found);
            self.read_for_rollback(queued, overlay, false, actions);
        }
    }

    /// Takes the values from a revision that was loaded.
    pub(super) fn gathered(
        &mut self,
        queued: Queued,
        mut gathering: Gathering,
        loaded: Result<Items, StoreError>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some((number, items)) = gathering.wanted.pop_first() else { return };
        match loaded {
            Ok(overlay) => {
                let values = items.into_iter().filter_map(|item| overlay.get_key_value(&item));
                let values = values.map(|(item, value)| (item.clone(), value.clone()));
                gathering.found.extend(values);
            }
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::error!(revision = number, %error, "an older revision is used instead");
                for item in items {
                    if let Some(older) = self.book.source_before(number, &item) {
                        gathering.wanted.entry(older).or_default().insert(item);
                    }
                }
            }
            Err(error) => return self.fail(queued, Failure::Store(error), now, actions),
        }
        self.gather_next(queued, gathering, actions);
    }
}
