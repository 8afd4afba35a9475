//! Reads the folder when the store is opened, and removes what a power cut has left.
//!
//! Nothing is changed before all files are read: a store of a newer version stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::disk::{Checked, StoreDisk};
use super::error::LoadError;
use super::items::parse_items;
use super::names::{
    FileName, RECORDS, REVISIONS, TEMPORARY, overlay_path, removed, removed_in, startup_path,
    status_path, temporary,
};
use super::records::Records;
use super::trust;
use crate::revisions::item::Items;
use crate::revisions::revision::Revision;

/// What the store contains when it is opened.
#[derive(Debug, Default, PartialEq)]
pub(in crate::revisions) struct Contents {
    /// All revisions that are whole.
    pub(in crate::revisions) revisions: BTreeMap<u64, Revision>,
    /// The overlay of the newest revision that is not in doubt; empty if there is none.
    pub(in crate::revisions) overlay: Items,
    /// The overlay of a newer revision that is in doubt.
    pub(in crate::revisions) in_doubt: Option<Items>,
    pub(in crate::revisions) startup: Items,
}

/// The files of the revisions.
#[derive(Debug, Default)]
struct RevisionFiles {
    statuses: BTreeMap<u64, Checked<Revision>>,
    overlays: BTreeMap<u64, Checked<()>>,
    startup: Option<Checked<Items>>,
    /// Statuses that were not renamed.
    new_statuses: BTreeMap<u64, Checked<Revision>>,
    /// Overlays that were not renamed.
    new_overlays: BTreeSet<u64>,
    /// Whether there is a startup file that was not renamed.
    new_startup: bool,
    /// Revisions whose removal was not completed.
    removed: BTreeSet<u64>,
}

/// Loads the revisions and the names of the records.
pub(super) fn load(disk: &mut StoreDisk) -> Result<(Contents, Records), LoadError> {
    let mut files = find_revisions(disk)?;
    let (records, record_files) = Records::find(disk)?;

    record_files.clean(disk)?;
    complete_statuses(disk, &mut files)?;
    complete_removals(disk, &mut files)?;
    let mut contents = Contents::default();
    match files.startup {
        Some(Ok(items)) => contents.startup = items,
        Some(Err(reason)) => disk.set_aside(&startup_path(), &reason),
        None => {}
    }
    contents.revisions = pair(disk, files.statuses, files.overlays)?;
    load_overlays(disk, &mut contents)?;
    for folder in [REVISIONS, RECORDS] {
        disk.limit_damaged(folder)?;
    }
    trust::clean(disk)?;
    Ok((contents, records))
}

/// Reads the files of the revisions.
fn find_revisions(disk: &mut StoreDisk) -> Result<RevisionFiles, LoadError> {
    let mut files = RevisionFiles::default();
    for name in disk.list(REVISIONS)? {
        let path = Path::new(REVISIONS).join(&name);
        if let Some(name) = name.strip_suffix(TEMPORARY).and_then(FileName::of) {
            match name {
                FileName::Overlay(number) => {
                    files.new_overlays.insert(number);
                }
                FileName::Startup => files.new_startup = true,
                FileName::Status(number) => {
                    if let Some(status) = status(disk, &path, number)? {
                        files.new_statuses.insert(number, status);
                    }
                }
            }
            continue;
        }
        if let Some(number) = removed_in(&name) {
            files.removed.insert(number);
            continue;
        }
        match FileName::of(&name) {
            Some(FileName::Overlay(number)) => {
                if let Some(text) = disk.checked(&path)? {
                    files.overlays.insert(number, text.map(drop));
                }
            }
            Some(FileName::Status(number)) => {
                if let Some(status) = status(disk, &path, number)? {
                    files.statuses.insert(number, status);
                }
            }
            Some(FileName::Startup) => {
                let text = disk.checked(&path)?;
                files.startup = text.map(|text| text.and_then(|text| parse_items(&text)));
            }
            None => {}
        }
    }
    Ok(files)
}

fn status(
    disk: &mut StoreDisk,
    path: &Path,
    number: u64,
) -> Result<Option<Checked<Revision>>, LoadError> {
    let parse = |text: String| match serde_json::from_str::<Revision>(&text) {
        Ok(revision) if revision.revision == number => Ok(revision),
        Ok(_) => Err("it is that of another revision".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    Ok(disk.checked(path)?.map(|text| text.and_then(parse)))
}

/// Renames new statuses if all files before them were renamed. Else the change was not
/// completed, and its files are removed.
fn complete_statuses(disk: &mut StoreDisk, files: &mut RevisionFiles) -> Result<(), LoadError> {
    let is_renaming = files.new_overlays.is_empty() && !files.new_startup;
    for (number, status) in std::mem::take(&mut files.new_statuses) {
        let path = status_path(number);
        match status {
            Ok(status) if is_renaming && files.overlays.contains_key(&number) => {
                disk.rename(&path)?;
                files.statuses.insert(number, Ok(status));
            }
            _ => disk.remove(&temporary(&path))?,
        }
    }
    // After the statuses: without these files, they would be renamed at the next start.
    for number in &files.new_overlays {
        disk.remove(&temporary(&overlay_path(*number)))?;
    }
    if files.new_startup {
        disk.remove(&temporary(&startup_path()))?;
    }
    Ok(())
}

/// Removes what remains of revisions whose removal was not completed.
fn complete_removals(disk: &mut StoreDisk, files: &mut RevisionFiles) -> Result<(), LoadError> {
    for number in std::mem::take(&mut files.removed) {
        // With a status, it is another revision of this number.
        if !files.statuses.contains_key(&number) && files.overlays.remove(&number).is_some() {
            disk.remove(&overlay_path(number))?;
        }
        disk.remove(&removed(&status_path(number)))?;
    }
    Ok(())
}

/// Removes a revision.
fn remove_revision(disk: &mut StoreDisk, number: u64) -> Result<(), LoadError> {
    let status = status_path(number);
    disk.retire(&status)?;
    disk.remove(&overlay_path(number))?;
    disk.remove(&removed(&status))
}

/// The revisions of which both files are whole. The files of the others are set aside.
fn pair(
    disk: &mut StoreDisk,
    mut statuses: BTreeMap<u64, Checked<Revision>>,
    mut overlays: BTreeMap<u64, Checked<()>>,
) -> Result<BTreeMap<u64, Revision>, LoadError> {
    let numbers: BTreeSet<u64> = statuses.keys().chain(overlays.keys()).copied().collect();
    let mut revisions = BTreeMap::new();
    for number in numbers {
        match (statuses.remove(&number), overlays.remove(&number)) {
            (Some(Ok(revision)), Some(Ok(()))) => {
                revisions.insert(number, revision);
            }
            (None, None) => {}
            (status, overlay) => {
                let missing = || Err("the other file of its revision is missing".to_owned());
                let reason = status.map_or_else(missing, |status| status.map(drop)).err();
                let reason = reason.or(overlay.unwrap_or_else(missing).err());
                set_revision_aside(disk, number, &reason.unwrap_or_default())?;
            }
        }
    }
    Ok(revisions)
}

/// Reads the overlay of the newest revision that is not in doubt, and that of a newer one.
fn load_overlays(disk: &mut StoreDisk, contents: &mut Contents) -> Result<(), LoadError> {
    let numbers: Vec<(u64, bool)> =
        contents.revisions.iter().rev().map(|(number, one)| (*number, one.in_doubt)).collect();
    let (mut is_newest, mut has_overlay) = (true, false);
    for (number, in_doubt) in numbers {
        if in_doubt && !is_newest {
            // A later change was made when this one was known not to be in place.
            remove_revision(disk, number)?;
            contents.revisions.remove(&number);
            continue;
        }
        if has_overlay {
            continue;
        }
        let missing = || Err("it is missing".to_owned());
        let text = disk.checked(&overlay_path(number))?.unwrap_or_else(missing);
        match text.and_then(|text| parse_items(&text)) {
            Ok(overlay) if in_doubt => contents.in_doubt = Some(overlay),
            Ok(overlay) => {
                contents.overlay = overlay;
                has_overlay = true;
            }
            Err(reason) => {
                set_revision_aside(disk, number, &reason)?;
                contents.revisions.remove(&number);
                continue;
            }
        }
        is_newest = false;
    }
    Ok(())
}

/// Sets both files of a revision aside: a person may still find use for the whole one.
fn set_revision_aside(disk: &mut StoreDisk, number: u64, reason: &str) -> Result<(), LoadError> {
    let names = disk.list(REVISIONS)?;
    for path in [status_path(number), overlay_path(number)] {
        let exists = path.file_name().and_then(|name| name.to_str());
        if exists.is_some_and(|name| names.iter().any(|one| one == name)) {
            disk.set_aside(&path, reason);
        }
    }
    Ok(())
}
