//! Reads and writes files. Each function names the file in its error.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use super::error::JournalError;
use crate::own_file;

const MODE: u32 = 0o600;

fn failed(path: &Path) -> impl FnOnce(io::Error) -> JournalError + '_ {
    |error| JournalError::Io { path: path.to_owned(), error }
}

/// Locks the folder of a journal until the file descriptor is closed.
pub(super) fn lock(folder: &Path) -> Result<OwnedFd, JournalError> {
    let path = folder.join("lock");
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::CREATE | OFlags::RDWR;
    let lock = open(&path, flags, Mode::RUSR | Mode::WUSR);
    let lock = lock.map_err(|error| failed(&path)(error.into()))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(JournalError::Locked { path: folder.to_owned() }),
        Err(error) => Err(failed(&path)(error.into())),
    }
}

pub(super) fn create_folder(path: &Path) -> Result<(), JournalError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))
}

pub(super) fn exists(path: &Path) -> Result<bool, JournalError> {
    path.try_exists().map_err(failed(path))
}

pub(super) fn size(path: &Path) -> Result<u64, JournalError> {
    fs::metadata(path).map(|file| file.len()).map_err(failed(path))
}

pub(super) fn names(folder: &Path) -> Result<Vec<String>, JournalError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed(folder))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect::<io::Result<_>>().map_err(failed(folder))
}

pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, JournalError> {
    own_file::read(path, max).map_err(failed(path))
}

/// Whether another process has locked the folder of a journal.
pub(super) fn is_locked(folder: &Path) -> Result<bool, JournalError> {
    let path = folder.join("lock");
    // Not by waiting for what is no file, and not by creating it.
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::RDONLY;
    let lock = match open(&path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        lock => lock.map_err(|error| failed(&path)(error.into()))?,
    };
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(failed(&path)(error.into())),
    }
}

/// Creates an empty file.
pub(super) fn create(path: &Path) -> Result<File, JournalError> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path);
    let file = file.map_err(failed(path))?;
    file.sync_all().map_err(failed(path))?;
    Ok(file)
}

/// Writes a file that is there whole or not at all.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<(), JournalError> {
    let new = path.with_extension("new");
    let mut file = create(&new)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed(&new))?;
    fs::rename(&new, path).map_err(failed(path))
}

pub(super) fn sync_folder(path: &Path) -> Result<(), JournalError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed(path))
}

/// Opens a file to append after so many bytes; what is behind them is removed.
pub(super) fn open_at(path: &Path, length: u64) -> Result<File, JournalError> {
    let open = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_all()?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    };
    open().map_err(failed(path))
}

pub(super) fn append(file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    file.write_all(bytes).and_then(|()| file.sync_data()).map_err(failed(path))
}
