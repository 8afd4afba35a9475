//! The journal of a roll-out: what has to survive the end of the command.
//!
//! ```text
//! <folder>/<id>/plan.json            the format, and the plan
//!               transitions.jsonl    one line of JSON for each transition, synced
//!               lock                 held by the command that drives the roll-out
//! ```
//!
//! The files have mode 0600, because the plan contains the payload. A line that a power cut has cut
//! off is dropped; damage elsewhere is an error, because what is missing could be done twice.

mod error;
mod files;
mod read;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use error::JournalError;
pub use read::Recorded;
use rustix::fd::OwnedFd;

use crate::rollout::{Line, Plan, RolloutId};
use read::{PLAN, TRANSITIONS};

/// The journal of a roll-out, open for writing. No other process can open it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    transitions: File,
    /// Whether a write has failed: the end of the file is unknown.
    is_broken: bool,
    _lock: OwnedFd,
}

impl Journal {
    /// Creates the journal of a new roll-out.
    ///
    /// # Errors
    /// There is one with this id, or a file cannot be written.
    pub fn create(folder: &Path, plan: &Plan) -> Result<Self, JournalError> {
        let path = folder.join(plan.id.as_str());
        files::create_folder(folder)?;
        files::create_folder(&path)?;
        let lock = files::lock(&path)?;
        if files::exists(&path.join(PLAN))? {
            return Err(JournalError::Exists { id: plan.id.clone() });
        }
        let transitions = files::create(&path.join(TRANSITIONS))?;
        let plan = read::write_plan(plan);
        files::write_whole(&path.join(PLAN), &plan)?;
        files::sync_folder(&path)?;
        files::sync_folder(folder)?;
        Ok(Self { path, transitions, is_broken: false, _lock: lock })
    }

    /// Opens the journal of a roll-out that goes on. Removes a line that was cut off.
    ///
    /// # Errors
    /// There is none, it is damaged or of another version, or another command has it open.
    pub fn open(folder: &Path, id: &RolloutId) -> Result<(Self, Recorded), JournalError> {
        let path = folder.join(id.as_str());
        if !files::exists(&path.join(PLAN))? {
            return Err(JournalError::Unknown { id: id.clone(), folder: folder.to_owned() });
        }
        let lock = files::lock(&path)?;
        let (recorded, length) = read::read(&path)?;
        let transitions = files::open_at(&path.join(TRANSITIONS), length)?;
        Ok((Self { path, transitions, is_broken: false, _lock: lock }, recorded))
    }

    /// Reads a journal without opening it for writing: it may belong to another command.
    ///
    /// # Errors
    /// There is none, or it is damaged or of another version.
    pub fn read(folder: &Path, id: &RolloutId) -> Result<Recorded, JournalError> {
        let path = folder.join(id.as_str());
        if !files::exists(&path.join(PLAN))? {
            return Err(JournalError::Unknown { id: id.clone(), folder: folder.to_owned() });
        }
        Ok(read::read(&path)?.0)
    }

    /// Whether a command drives a roll-out now. Changes nothing.
    ///
    /// # Errors
    /// The lock cannot be read.
    pub fn is_running(folder: &Path, id: &RolloutId) -> Result<bool, JournalError> {
        files::is_locked(&folder.join(id.as_str()))
    }

    /// The size of the transitions in bytes. It grows with each.
    ///
    /// # Errors
    /// There is no such journal.
    pub fn size(folder: &Path, id: &RolloutId) -> Result<u64, JournalError> {
        files::size(&folder.join(id.as_str()).join(TRANSITIONS))
    }

    /// The ids of all roll-outs, sorted.
    ///
    /// # Errors
    /// The folder cannot be read. If there is none, there are no roll-outs.
    pub fn list(folder: &Path) -> Result<Vec<RolloutId>, JournalError> {
        let names = files::names(folder)?;
        let mut ids: Vec<RolloutId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// Appends lines, and returns when they are on the disk.
    ///
    /// # Errors
    /// The disk is full or fails. Then no further line can be appended: what the lines announce
    /// must not be done.
    pub fn append(&mut self, lines: &[Line]) -> Result<(), JournalError> {
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.path.join(TRANSITIONS);
        if self.is_broken {
            return Err(JournalError::Broken { path });
        }
        self.is_broken = true;
        files::append(&mut self.transitions, &path, &read::write_lines(lines))?;
        self.is_broken = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
