//! The changes of the store, and the files that they replace.

use super::disk::FileChange;
use super::error::StoreError;
use super::items::items_text;
use super::names::{overlay_path, removed, startup_path, status_path};
use super::sealed::seal;
use crate::revisions::item::Items;
use crate::revisions::revision::Revision;

/// One change of the store.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there are only a few at a time")]
pub(in crate::revisions) enum StoreChange {
    /// The values of the startup manifest.
    Startup(Items),
    /// The overlay of a new revision.
    Overlay(u64, Items),
    /// What else is known about a revision.
    Status(Revision),
    /// A revision is no longer kept.
    Remove(u64),
}

impl StoreChange {
    /// The same as `earlier` and then `later`, with one change for each file at most.
    pub(in crate::revisions) fn combined(earlier: Vec<Self>, later: Vec<Self>) -> Vec<Self> {
        let is_replaced = |earlier: &Self| {
            later.iter().any(|later| match (earlier, later) {
                (Self::Startup(_), Self::Startup(_)) => true,
                (Self::Overlay(a, _), Self::Overlay(b, _)) => a == b,
                (Self::Status(a), Self::Status(b)) => a.revision == b.revision,
                (Self::Overlay(a, _), Self::Remove(b)) => a == b,
                (Self::Status(a), Self::Remove(b)) => a.revision == *b,
                (Self::Remove(a), Self::Remove(b) | Self::Overlay(b, _)) => a == b,
                _ => false,
            })
        };
        let mut combined = earlier;
        combined.retain(|earlier| !is_replaced(earlier));
        combined.extend(later);
        // In this order they are written in one step, with one sync of the folder.
        combined.sort_by_key(|change| match change {
            Self::Startup(_) => 0,
            Self::Overlay(..) => 1,
            Self::Status(_) => 2,
            Self::Remove(_) => 3,
        });
        combined
    }
}

/// The files that a change writes or removes, in this order.
pub(super) fn files_of(change: &StoreChange) -> Result<Vec<FileChange>, StoreError> {
    Ok(match change {
        StoreChange::Startup(items) => {
            let path = startup_path();
            let content = items_text(&path, items)?;
            vec![FileChange::Write(path, content)]
        }
        StoreChange::Overlay(number, items) => {
            let path = overlay_path(*number);
            let content = items_text(&path, items)?;
            vec![FileChange::Write(path, content)]
        }
        StoreChange::Status(revision) => {
            let path = status_path(revision.revision);
            let text = serde_json::to_string_pretty(revision)
                .map_err(|error| StoreError::invalid(&path, error))?;
            vec![FileChange::Write(path, seal(&text))]
        }
        StoreChange::Remove(number) => {
            // The first step removes the revision. An overlay without a status is damage: this
            // file says that it is not.
            let status = status_path(*number);
            let retired = removed(&status);
            vec![
                FileChange::Retire(status),
                FileChange::Remove(overlay_path(*number)),
                FileChange::Remove(retired),
            ]
        }
    })
}
