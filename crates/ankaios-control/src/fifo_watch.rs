//! Notifications of what other processes do to a FIFO.
//!
//! An agent that starts, or begins a new session, opens the FIFO. If it does so before this
//! process notices that the former reader has gone, nothing else shows it: there is neither an
//! end of file nor an error. The kernel's notifications (inotify) always arrive, and need no
//! timer.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::net::unix::pipe::Receiver;

/// What has happened to a FIFO since it was last asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FifoChanges {
    /// Some process has opened it.
    pub(super) opened: bool,
    /// Its attributes have changed. The number of its names is one of them, so removing its
    /// file counts.
    pub(super) attributes: bool,
}

/// Watches one FIFO.
#[derive(Debug)]
pub(super) struct FifoWatch {
    /// Not a pipe, but a descriptor that is read like one.
    inotify: Receiver,
}

impl FifoWatch {
    /// Watches the FIFO at `path` from now on.
    ///
    /// # Errors
    /// The user has no inotify instance left (`fs.inotify.max_user_instances`), or the kernel
    /// has no inotify.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&inotify, path, WatchFlags::OPEN | WatchFlags::ATTRIB)?;
        Ok(Self { inotify: Receiver::from_owned_fd_unchecked(inotify)? })
    }

    /// Waits until there may be changes that [`FifoWatch::take`] has not returned.
    pub(super) async fn changed(&self) {
        // An error means that the runtime is shutting down.
        if self.inotify.readable().await.is_err() {
            std::future::pending().await
        }
    }

    /// The changes since the last call.
    pub(super) fn take(&self) -> FifoChanges {
        let mut changes = FifoChanges::default();
        let mut buffer = [MaybeUninit::uninit(); 512];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    // The lost events may have been of any kind.
                    let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    changes.opened |= lost || event.events().contains(ReadFlags::OPEN);
                    changes.attributes |= lost || event.events().contains(ReadFlags::ATTRIB);
                }
                Err(Errno::INTR) => {}
                // There are no more events; no other error is possible.
                Err(_) => break,
            }
        }
        // Clears the readiness, so that `changed` waits again. An event that has come in the
        // meantime does not fit into one byte and is kept.
        let _ = self.inotify.try_read(&mut [0]);
        changes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{File, remove_file};

    use super::*;

    #[tokio::test]
    async fn each_opening_and_the_removal_are_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let kept_open = File::create(&path).unwrap();
        let watch = FifoWatch::new(&path).unwrap();
        assert_eq!(watch.take(), FifoChanges::default());
        for _ in 0..2 {
            File::open(&path).unwrap();
            watch.changed().await;
            assert_eq!(watch.take(), FifoChanges { opened: true, attributes: false });
        }
        remove_file(&path).unwrap();
        watch.changed().await;
        assert_eq!(watch.take(), FifoChanges { opened: false, attributes: true });
        assert_eq!(watch.take(), FifoChanges::default());
        drop(kept_open);
    }
}
