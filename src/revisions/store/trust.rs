//! What is kept about signed requests: the serials that were accepted, and a trust file that is newer
//! than the mounted one.

use std::io;
use std::path::Path;

use super::disk::{FileChange, StoreDisk};
use super::error::{LoadError, StoreError};
use super::names::{TEMPORARY, TRUST, TrustFileName, trust_path};
use super::sealed::seal;
use crate::trust::StoredTrust;

/// What is known about the folder.
#[derive(Debug, Default)]
pub(super) struct TrustFiles {
    /// Whether it exists on the disk. Not known at the start: most vehicles need none.
    has_folder: bool,
}

/// Reads both files. Damaged ones are set aside.
pub(super) fn read(disk: &mut StoreDisk) -> Result<StoredTrust, LoadError> {
    Ok(StoredTrust {
        serials: read_one(disk, TrustFileName::Serials)?,
        file: read_one(disk, TrustFileName::Trust)?,
    })
}

fn read_one(disk: &mut StoreDisk, name: TrustFileName) -> Result<Option<String>, LoadError> {
    let path = trust_path(name);
    match disk.checked(&path)? {
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(reason)) => {
            disk.set_aside(&path, &reason);
            Ok(None)
        }
        None => Ok(None),
    }
}

impl TrustFiles {
    /// Replaces a file. The first one creates the folder.
    pub(super) fn save(
        &mut self,
        disk: &mut StoreDisk,
        name: TrustFileName,
        text: &str,
    ) -> Result<(), StoreError> {
        if !self.has_folder {
            disk.create_folders(&[TRUST]).map_err(|error| disk.load_failed(error))?;
        }
        let saved = disk.replace(TRUST, vec![FileChange::Write(trust_path(name), seal(text))]);
        // Somebody may have removed it.
        self.has_folder = saved.is_ok();
        saved
    }
}

/// Removes the temporary files that a power cut has left.
pub(super) fn clean(disk: &mut StoreDisk) -> Result<(), LoadError> {
    let names = match disk.list(TRUST) {
        Ok(names) => names,
        Err(LoadError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names.iter().filter(|name| name.ends_with(TEMPORARY)) {
        disk.remove(&Path::new(TRUST).join(name))?;
    }
    disk.limit_damaged(TRUST)
}
