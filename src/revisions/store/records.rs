//! Records of subscriptions and rollouts: one file each, `records/events-ab12.record`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::disk::{FileChange, StoreDisk};
use super::error::{LoadError, StoreError};
use super::names::{RECORDS, TEMPORARY, is_record, record_in, record_path};
use super::sealed::seal;

/// Maximum number of records.
pub(super) const MAX_RECORDS: usize = 1024;

/// Maximum size of a record, in bytes.
pub(super) const MAX_RECORD: usize = 512 * 1024;

/// The names of the records.
#[derive(Debug, Default)]
pub(super) struct Records(BTreeSet<String>);

/// Files of records that cannot be used.
#[derive(Debug, Default)]
pub(super) struct UnusableRecords {
    damaged: Vec<(PathBuf, String)>,
    /// Temporary files.
    new: Vec<PathBuf>,
    /// The number of files that were not read, because there are too many.
    excess: usize,
}

impl Records {
    /// Finds the records that are whole, and other files of records.
    pub(super) fn find(disk: &mut StoreDisk) -> Result<(Self, UnusableRecords), LoadError> {
        let (mut records, mut unusable) = (Self::default(), UnusableRecords::default());
        for name in disk.list(RECORDS)? {
            let path = Path::new(RECORDS).join(&name);
            if name.strip_suffix(TEMPORARY).and_then(record_in).is_some() {
                unusable.new.push(path);
            } else if let Some(record) = record_in(&name) {
                if records.0.len() + unusable.damaged.len() >= MAX_RECORDS {
                    unusable.excess += 1;
                    continue;
                }
                match disk.checked(&path)? {
                    Some(Ok(_)) => {
                        records.0.insert(record.to_owned());
                    }
                    Some(Err(reason)) => unusable.damaged.push((path, reason)),
                    None => {}
                }
            }
        }
        Ok((records, unusable))
    }

    /// Reads all records. Damaged ones are set aside.
    pub(super) fn read(
        &mut self,
        disk: &mut StoreDisk,
    ) -> Result<Vec<(String, Vec<u8>)>, LoadError> {
        let mut records = Vec::new();
        let names: Vec<String> = self.0.iter().cloned().collect();
        for name in names {
            let path = record_path(&name);
            match disk.checked(&path)? {
                Some(Ok(text)) => {
                    records.push((name, text.into_bytes()));
                    continue;
                }
                Some(Err(reason)) => disk.set_aside(&path, &reason),
                None => {}
            }
            self.0.remove(&name);
        }
        disk.limit_damaged(RECORDS)?;
        Ok(records)
    }

    /// Writes a record, or replaces the one of this name.
    pub(super) fn save(
        &mut self,
        disk: &mut StoreDisk,
        name: &str,
        record: &[u8],
    ) -> Result<(), StoreError> {
        let path = path_of(name)?;
        let invalid = |reason: String| Err(StoreError::invalid(&path, reason));
        if record.len() > MAX_RECORD {
            return invalid(format!("it has more than {MAX_RECORD} bytes"));
        }
        let Ok(text) = std::str::from_utf8(record) else {
            return invalid("it is not UTF-8".into());
        };
        if self.0.len() >= MAX_RECORDS && !self.0.contains(name) {
            return invalid(format!("there are {MAX_RECORDS} records already"));
        }
        let saved = disk.replace(RECORDS, vec![FileChange::Write(path.clone(), seal(text))]);
        // One that is pending may be there, and is completed by the next change.
        if saved.is_ok() || disk.is_pending(&path) {
            self.0.insert(name.to_owned());
        }
        saved
    }

    /// Removes a record. It is not an error if there is none.
    pub(super) fn remove(&mut self, disk: &mut StoreDisk, name: &str) -> Result<(), StoreError> {
        disk.replace(RECORDS, vec![FileChange::Remove(path_of(name)?)])?;
        self.0.remove(name);
        Ok(())
    }
}

impl UnusableRecords {
    /// Removes temporary files, and sets damaged ones aside.
    pub(super) fn clean(self, disk: &mut StoreDisk) -> Result<(), LoadError> {
        if self.excess > 0 {
            let (max, ignored) = (MAX_RECORDS, self.excess);
            tracing::error!(max, ignored, "the store has too many records");
        }
        for path in self.new {
            disk.remove(&path)?;
        }
        for (path, reason) in self.damaged {
            disk.set_aside(&path, &reason);
        }
        Ok(())
    }
}

/// The path of a record whose name comes from elsewhere.
fn path_of(name: &str) -> Result<PathBuf, StoreError> {
    if is_record(name) {
        return Ok(record_path(name));
    }
    let reason = "it is not the name of a record".into();
    Err(StoreError::Invalid { file: format!("{name:?}"), reason })
}
