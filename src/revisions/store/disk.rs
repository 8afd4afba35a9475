//! Checked reading, and changes of several files.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::advice::explain;
use super::error::{LoadError, NewerFormat, StoreError};
use super::files::{Files, MAX_FILE, is_read_only};
use super::names::{DAMAGED, aside, removed, temporary};
use super::sealed::{SealError, unseal};

/// Maximum number of damaged files that are kept in a folder.
pub(super) const MAX_DAMAGED: usize = 16;

/// The text of a file, or what it means; or why the file is damaged.
pub(super) type Checked<T> = Result<T, String>;

/// A change of one file.
#[derive(Debug)]
pub(super) enum FileChange {
    /// Writes the file with this content.
    Write(PathBuf, Vec<u8>),
    /// Removes the file.
    Remove(PathBuf),
    /// Gives the status of a revision the name that says that the revision is being removed.
    Retire(PathBuf),
}

impl FileChange {
    /// The file.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Write(path, _) | Self::Remove(path) | Self::Retire(path) => path,
        }
    }
}

/// The files, and what remains of a change that has failed.
pub(super) struct StoreDisk {
    /// The folder of the store, for messages.
    folder: PathBuf,
    files: Box<dyn Files>,
    /// The rest of a change that has failed after all its files were written, or of the cleaning
    /// of a read-only disk.
    pending: VecDeque<FileStep>,
    /// Temporary files of a change that has failed before.
    leftovers: Vec<PathBuf>,
}

/// A step of a change whose files are all written.
#[derive(Debug)]
enum FileStep {
    /// Gives a file its name.
    Rename(PathBuf),
    /// See [`FileChange::Retire`].
    Retire(PathBuf),
    Remove(PathBuf),
    /// Syncs a folder.
    Sync(PathBuf),
}

impl FileStep {
    /// The file or folder.
    fn path(&self) -> &Path {
        match self {
            Self::Rename(path) | Self::Retire(path) | Self::Remove(path) | Self::Sync(path) => path,
        }
    }

    fn run(&self, files: &mut dyn Files) -> io::Result<()> {
        match self {
            Self::Rename(path) => files.rename(&temporary(path), path),
            Self::Retire(path) => files.rename(path, &removed(path)).or_else(if_present),
            Self::Remove(path) => files.remove(path).or_else(if_present),
            Self::Sync(folder) => files.sync_folder(folder),
        }
    }
}

impl StoreDisk {
    pub(super) fn new(folder: PathBuf, files: Box<dyn Files>) -> Self {
        Self { folder, files, pending: VecDeque::new(), leftovers: Vec::new() }
    }

    /// Creates folders, unless they exist. On a read-only disk they must exist.
    pub(super) fn create_folders(&mut self, folders: &[&str]) -> Result<(), LoadError> {
        for folder in folders {
            let path = Path::new(folder);
            if let Err(error) = self.files.create_folder(path)
                && (!is_read_only(&error) || self.files.list(path).is_err())
            {
                return Err(LoadError::Io(path.into(), error));
            }
        }
        let root = Path::new("");
        match self.files.sync_folder(root) {
            Err(error) if !is_read_only(&error) => Err(LoadError::Io(root.into(), error)),
            _ => Ok(()),
        }
    }

    /// The error of a file of the store.
    fn failed(&self, path: &Path, error: &io::Error) -> StoreError {
        StoreError::io(&self.folder, path, error)
    }

    /// The error of files that were read after the store was opened.
    pub(super) fn load_failed(&self, error: LoadError) -> StoreError {
        StoreError::load(&self.folder, error)
    }

    /// The names of the files in a folder, in a fixed order.
    pub(super) fn list(&mut self, folder: &str) -> Result<Vec<String>, LoadError> {
        let names = self.files.list(Path::new(folder));
        let mut names = names.map_err(|error| LoadError::Io(folder.into(), error))?;
        names.sort_unstable();
        Ok(names)
    }

    /// The text of a file that should be whole.
    pub(super) fn read(&mut self, path: &Path) -> Result<String, StoreError> {
        let content = self.files.read(path).map_err(|error| self.failed(path, &error))?;
        let damaged = |error: SealError| StoreError::Damaged {
            file: path.display().to_string(),
            reason: error.to_string(),
        };
        unseal(&content).map(str::to_owned).map_err(damaged)
    }

    /// The text of a file, or why it is damaged. `None` if it does not exist.
    pub(super) fn checked(&mut self, path: &Path) -> Result<Option<Checked<String>>, LoadError> {
        let content = match self.files.read(path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if is_damage(&error) => return Ok(Some(Err(error.to_string()))),
            Err(error) => return Err(LoadError::Io(path.to_owned(), error)),
        };
        match unseal(&content) {
            Ok(text) => Ok(Some(Ok(text.to_owned()))),
            Err(SealError::Damaged(reason)) => Ok(Some(Err(reason.to_owned()))),
            Err(SealError::Newer(version)) => {
                Err(LoadError::Newer(path.to_owned(), NewerFormat(version)))
            }
        }
    }

    /// Renames a damaged file. If that is not possible it stays, and is damaged at the next start
    /// as well.
    pub(super) fn set_aside(&mut self, path: &Path, reason: &str) {
        let aside = aside(path);
        let error = self.files.rename(path, &aside).err().map(|error| error.to_string());
        tracing::error!(
            file = %path.display(),
            reason,
            aside = %aside.display(),
            error,
            "a file of the store is damaged and set aside"
        );
    }

    /// Removes damaged files of a folder that has too many: those of the oldest revisions.
    pub(super) fn limit_damaged(&mut self, folder: &str) -> Result<(), LoadError> {
        let names = self.list(folder)?;
        let mut damaged: Vec<&String> =
            names.iter().filter(|name| name.ends_with(DAMAGED)).collect();
        let number = |name: &str| name.split('.').next().and_then(|stem| stem.parse::<u64>().ok());
        damaged.sort_by_key(|name| (number(name), *name));
        let excess = damaged.len().saturating_sub(MAX_DAMAGED);
        for name in damaged.into_iter().take(excess) {
            let path = Path::new(folder).join(name);
            if let Err(error) = self.files.remove(&path) {
                let (file, error) = (path.display(), error.to_string());
                tracing::warn!(%file, error, "a damaged file cannot be removed");
            }
        }
        Ok(())
    }

    /// Renames a temporary file that a power cut has left.
    pub(super) fn rename(&mut self, path: &Path) -> Result<(), LoadError> {
        self.clean(FileStep::Rename(path.to_owned()))
    }

    /// Removes a file that a power cut has left.
    pub(super) fn remove(&mut self, path: &Path) -> Result<(), LoadError> {
        self.clean(FileStep::Remove(path.to_owned()))
    }

    /// Begins to remove a revision, see [`FileChange::Retire`].
    pub(super) fn retire(&mut self, status: &Path) -> Result<(), LoadError> {
        self.clean(FileStep::Retire(status.to_owned()))
    }

    /// Does a step while the store is opened. If the disk is read-only, this step and those after
    /// it are done before the next change: in another order, a power cut between them could leave
    /// files that look like those of another change.
    fn clean(&mut self, step: FileStep) -> Result<(), LoadError> {
        if self.pending.is_empty() {
            match step.run(self.files.as_mut()) {
                Ok(()) => return Ok(()),
                Err(error) if is_read_only(&error) => {
                    let path = step.path();
                    let error = explain(&self.folder, &self.folder.join(path), &error);
                    tracing::warn!(file = %path.display(), error, "the store is cleaned before the next change");
                }
                Err(error) => return Err(LoadError::Io(step.path().to_owned(), error)),
            }
        }
        self.pending.push_back(step);
        Ok(())
    }

    /// Writes and removes files of one folder.
    pub(super) fn replace(
        &mut self,
        folder: &str,
        files: Vec<FileChange>,
    ) -> Result<(), StoreError> {
        for file in &files {
            if let FileChange::Write(path, content) = file
                && content.len() > MAX_FILE
            {
                let size = content.len();
                let reason = format!("it has {size} bytes, and at most {MAX_FILE} can be read");
                return Err(StoreError::invalid(path, reason));
            }
        }
        self.complete()?;
        self.write_temporaries(&files)?;
        let steps = files.into_iter().map(|file| match file {
            FileChange::Write(path, _) => FileStep::Rename(path),
            FileChange::Remove(path) => FileStep::Remove(path),
            FileChange::Retire(path) => FileStep::Retire(path),
        });
        self.pending = steps.chain([FileStep::Sync(folder.into())]).collect();
        self.complete()
    }

    /// Writes the temporary files of a change: all or none.
    fn write_temporaries(&mut self, files: &[FileChange]) -> Result<(), StoreError> {
        self.remove_leftovers()?;
        for file in files {
            let FileChange::Write(path, content) = file else { continue };
            let temporary = temporary(path);
            let written = self.files.write(&temporary, content);
            self.leftovers.push(temporary);
            if let Err(error) = written {
                // What cannot be removed now is removed before the next change, or at the start.
                let _ = self.remove_leftovers();
                return Err(self.failed(path, &error));
            }
        }
        self.leftovers.clear();
        Ok(())
    }

    /// Removes the temporary files of a change that has failed, the last one first: `load` takes
    /// statuses without the files before them for a change whose files were being renamed.
    fn remove_leftovers(&mut self) -> Result<(), StoreError> {
        while let Some(temporary) = self.leftovers.last() {
            let removed = self.files.remove(temporary).or_else(if_present);
            removed.map_err(|error| self.failed(temporary, &error))?;
            self.leftovers.pop();
        }
        Ok(())
    }

    /// Does the remaining steps of a change.
    fn complete(&mut self) -> Result<(), StoreError> {
        while let Some(step) = self.pending.front() {
            if let Err(error) = step.run(self.files.as_mut()) {
                let failed = self.failed(step.path(), &error);
                if error.kind() == io::ErrorKind::NotFound {
                    // Somebody has removed the file or the folder: it never succeeds.
                    let renames = self.pending.drain(..).filter_map(|step| match step {
                        FileStep::Rename(path) => Some(temporary(&path)),
                        FileStep::Retire(_) | FileStep::Remove(_) | FileStep::Sync(_) => None,
                    });
                    self.leftovers = renames.collect();
                }
                return Err(failed);
            }
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Whether a new file of a change that has failed gets its name before the next change.
    pub(super) fn is_pending(&self, path: &Path) -> bool {
        self.pending.iter().any(|step| matches!(step, FileStep::Rename(one) if one == path))
    }
}

/// Removing a file that does not exist is not an error.
fn if_present(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Whether the error concerns one file, which can never be read. Other errors, such as those of
/// permissions, can end.
fn is_damage(error: &io::Error) -> bool {
    let is_wrong_kind = matches!(
        error.kind(),
        io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidData | io::ErrorKind::IsADirectory
    );
    // A part of the disk cannot be read, or the file system is damaged.
    let is_unreadable = [Errno::IO, Errno::NODATA, Errno::BADMSG, Errno::UCLEAN];
    // It is a link or a socket.
    let is_special = [Errno::LOOP, Errno::NXIO];
    let has = |errno: &Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is_wrong_kind || is_unreadable.iter().chain(&is_special).any(has)
}
