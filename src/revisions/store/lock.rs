//! The lock of the folder.

use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use super::advice::explain;
use super::error::OpenError;
use super::files::is_read_only;

/// Locks a folder until the file descriptor is closed. On a read-only disk, the file must exist.
pub(super) fn lock(folder: &Path) -> Result<OwnedFd, OpenError> {
    let path = folder.join("lock");
    let failed = |error: Errno| OpenError::io(folder, path.clone(), &error.into());
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let writing = flags | OFlags::CREATE | OFlags::RDWR;
    let lock = open(&path, writing, Mode::RUSR | Mode::WUSR).or_else(|error| {
        if !is_read_only(&error.into()) {
            return Err(error);
        }
        // A file that is open for reading can be locked as well. If it is a FIFO, opening it must
        // not wait for its other end.
        let reading = flags | OFlags::RDONLY | OFlags::NONBLOCK;
        let lock = open(&path, reading, Mode::empty()).map_err(|_| error)?;
        tracing::warn!(
            path = %folder.display(),
            error = explain(folder, &path, &error.into()),
            "the store can be read, but not written"
        );
        Ok(lock)
    });
    let lock = lock.map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(OpenError::Locked(folder.to_owned())),
        Err(error) => Err(failed(error)),
    }
}
