//! Tells what others do to a FIFO.
//!
//! An agent that comes, or begins a new session, opens the FIFO. If it does so
//! before anything notices that the former reader has gone, there is no other
//! sign of it: neither an end of file nor an error. The kernel's notifications
//! (inotify) come in any case, and without a timer.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::net::unix::pipe::Receiver;

/// What has happened to a FIFO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// It was opened, by whomever.
    pub(super) opened: bool,
    /// Its attributes have changed, among them the number of its names.
    pub(super) attributes: bool,
}

/// Watches one FIFO.
#[derive(Debug)]
pub(super) struct Watch {
    /// Not a pipe, but read like one.
    inotify: Receiver,
}

impl Watch {
    /// Watches what is at `path` from now on.
    ///
    /// # Errors
    /// The user may have no more inotify instances
    /// (`fs.inotify.max_user_instances`), or the kernel has none.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&inotify, path, WatchFlags::OPEN | WatchFlags::ATTRIB)?;
        Ok(Self { inotify: Receiver::from_owned_fd_unchecked(inotify)? })
    }

    /// Waits until something may have happened that [`Watch::take`] has not told.
    pub(super) async fn changed(&self) {
        // An error means that the runtime is ending.
        if self.inotify.readable().await.is_err() {
            std::future::pending().await
        }
    }

    /// What has happened since the last call.
    pub(super) fn take(&self) -> Changes {
        let mut changes = Changes::default();
        let mut buffer = [MaybeUninit::uninit(); 512];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    // Lost events may have been of any kind.
                    let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    changes.opened |= lost || event.events().contains(ReadFlags::OPEN);
                    changes.attributes |= lost || event.events().contains(ReadFlags::ATTRIB);
                }
                Err(Errno::INTR) => {}
                // There are no more, and nothing else can go wrong.
                Err(_) => break,
            }
        }
        // Lets `changed` wait again. No event fits into one byte: if there is
        // one by now it stays.
        let _ = self.inotify.try_read(&mut [0]);
        changes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs::{File, remove_file};

    #[tokio::test]
    async fn each_opening_and_the_removal_are_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let kept_open = File::create(&path).unwrap();
        let watch = Watch::new(&path).unwrap();
        assert_eq!(watch.take(), Changes::default());
        for _ in 0..2 {
            File::open(&path).unwrap();
            watch.changed().await;
            assert_eq!(watch.take(), Changes { opened: true, attributes: false });
        }
        remove_file(&path).unwrap();
        watch.changed().await;
        assert_eq!(watch.take(), Changes { opened: false, attributes: true });
        assert_eq!(watch.take(), Changes::default());
        drop(kept_open);
    }
}
