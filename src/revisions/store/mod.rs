//! The store: revisions and records in a folder, as files that a person can read and apply.
//!
//! ```text
//!  STATE_DIR/
//!   lock                    locked while a connector uses the folder
//!   revisions/13.yaml       the overlay of revision 13: a manifest, and what is deleted
//!   revisions/13.status     what else is known about it; rewritten when its status changes
//!   revisions/startup.yaml  what the startup manifest has for the items of the overlay
//!   records/logs-7f.record  records of subscriptions
//!   trust/serials.json      the serials of signed requests that were accepted
//!   trust/trust.yaml        the newest trust file that was in force
//!   …/13.yaml.new           a temporary file: it is being written
//!   …/3.status.removed      the former status of a revision that is being removed
//!   …/13.yaml.damaged       a damaged file that was set aside
//!
//!  load             what is read when the store is opened
//!  records, trust   the records; what is kept about signed requests
//!    change          the changes, and the files that they replace
//!    disk            checked reading, and changes of several files
//!    items           the text of items
//!    files, lock     the file operations, and the lock
//!    sealed          the first line of each file, with a checksum
//!    names, error    the names of the files, and the errors
//!    advice          what to do about an error of the disk
//! ```
//!
//! A change is a list of files. All are written under temporary names and synced, then they are
//! renamed in order. After a power cut the first files of the list have the new content and the
//! others have the former one, and [`Store::open`] accepts every such mixture: a revision counts
//! once it has both files. Where a new overlay was renamed and its status was not, the status is
//! renamed when the store is opened. To remove a revision, its status is renamed first, so that an
//! overlay which has lost its status is always known to be damage.
//!
//! A folder on a read-only disk can be opened: what operators have changed is put back from it.
//! What a power cut has left in it is removed before the next change, and until the disk can be
//! written, each change fails.

mod advice;
mod change;
mod disk;
mod error;
mod files;
mod items;
mod load;
mod lock;
mod names;
mod records;
mod sealed;
#[cfg(test)]
mod tests;
mod trust;

use std::path::Path;

use rustix::fd::OwnedFd;

use super::item::Items;
use crate::trust::StoredTrust;
use change::files_of;
use disk::{FileChange, StoreDisk};
use error::LoadError;
use files::{Files, Folder};
use items::parse_items;
use load::load;
use names::{RECORDS, REVISIONS, overlay_path, startup_path};
use records::Records;
use trust::TrustFiles;

pub(super) use change::StoreChange;
pub(crate) use error::{OpenError, StoreError};
pub(super) use load::Contents;
pub(super) use names::TrustFileName;

/// An open store. It locks its folder.
pub(crate) struct Store {
    disk: StoreDisk,
    records: Records,
    trust: TrustFiles,
    _lock: Option<OwnedFd>,
}

impl Store {
    /// Locks a folder and reads what it contains. The folder is created if it does not exist.
    /// Damaged files are set aside.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(super) fn open(path: &Path) -> Result<(Self, Contents), OpenError> {
        let failed = |error| OpenError::io(path, path.to_owned(), &error);
        let folder = Folder::create(path.to_owned()).map_err(failed)?;
        let lock = lock::lock(path)?;
        let (store, contents) =
            Self::with(path, Box::new(folder)).map_err(|error| match error {
                LoadError::Io(file, error) => OpenError::io(path, path.join(file), &error),
                LoadError::Newer(file, error) => OpenError::Newer { file: path.join(file), error },
            })?;
        Ok((Self { _lock: Some(lock), ..store }, contents))
    }

    /// A store on the files of this folder, and what it contains.
    fn with(path: &Path, files: Box<dyn Files>) -> Result<(Self, Contents), LoadError> {
        let mut disk = StoreDisk::new(path.to_owned(), files);
        disk.create_folders(&[REVISIONS, RECORDS])?;
        let (contents, records) = load(&mut disk)?;
        let trust = TrustFiles::default();
        Ok((Self { disk, records, trust, _lock: None }, contents))
    }

    /// Writes changes, in this order. When this returns, they are on the disk.
    ///
    /// # Errors
    /// Nothing has changed, or some of the first changes. The rest of them may follow when the
    /// next ones are written. The overlay and the status of a revision change together.
    pub(super) fn save(&mut self, changes: &[StoreChange]) -> Result<(), StoreError> {
        let mut files: Vec<FileChange> = Vec::new();
        for change in changes {
            let next = files_of(change)?;
            // `load` relies on this order of the files that are replaced together: the startup
            // values, one overlay, statuses. None of them is written twice.
            let is_in_order = match change {
                StoreChange::Startup(_) => files.is_empty(),
                StoreChange::Overlay(..) => files.iter().all(|file| file.path() == startup_path()),
                StoreChange::Status(_) | StoreChange::Remove(_) => true,
            };
            let is_twice =
                next.iter().any(|one| files.iter().any(|other| other.path() == one.path()));
            if !is_in_order || is_twice {
                self.disk.replace(REVISIONS, std::mem::take(&mut files))?;
            }
            files.extend(next);
        }
        self.disk.replace(REVISIONS, files)
    }

    /// Reads the overlay of a revision.
    ///
    /// # Errors
    /// It cannot be read, or it is damaged.
    pub(super) fn overlay(&mut self, number: u64) -> Result<Items, StoreError> {
        let path = overlay_path(number);
        let text = self.disk.read(&path)?;
        let items = parse_items(&text);
        items.map_err(|reason| StoreError::Damaged { file: path.display().to_string(), reason })
    }

    /// All records, sorted by their names. Damaged ones are set aside.
    ///
    /// # Errors
    /// The folder or a file cannot be read.
    pub(crate) fn records(&mut self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.records.read(&mut self.disk).map_err(|error| self.disk.load_failed(error))
    }

    /// Writes a record, or replaces the one of this name. `name` is `events-<id>`,
    /// `logs-<id>` or `rollout-<id>`.
    /// When this returns, it is on the disk.
    ///
    /// # Errors
    /// There is the former record, or the new one.
    pub(crate) fn save_record(&mut self, name: &str, record: &[u8]) -> Result<(), StoreError> {
        self.records.save(&mut self.disk, name, record)
    }

    /// Removes a record. It is not an error if there is none.
    ///
    /// # Errors
    /// The record may still be there.
    pub(crate) fn remove_record(&mut self, name: &str) -> Result<(), StoreError> {
        self.records.remove(&mut self.disk, name)
    }

    /// What is kept about signed requests. Damaged files are set aside.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn trust(&mut self) -> Result<StoredTrust, StoreError> {
        trust::read(&mut self.disk).map_err(|error| self.disk.load_failed(error))
    }

    /// Replaces a file about signed requests. When this returns, it is on the disk.
    ///
    /// # Errors
    /// There is the former file, or the new one.
    pub(super) fn save_trust(&mut self, name: TrustFileName, text: &str) -> Result<(), StoreError> {
        self.trust.save(&mut self.disk, name, text)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}
