//! The two FIFOs of the control interface: opening them, looking at their
//! state, and writing a frame as a whole.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fstat};
use rustix::io::ioctl_fionread;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use tokio::io::Interest;
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};

use super::watch::Watch;

/// Sizes for the buffers of the pipes, in bytes: the first that the kernel
/// grants is taken. Without `CAP_SYS_RESOURCE` its limit is 1 MiB.
const PIPE_SIZES: [usize; 3] = [2 * 1024 * 1024, 1024 * 1024, 256 * 1024];

/// A write up to this size is atomic by POSIX (`PIPE_BUF` on Linux).
const ATOMIC_WRITE: usize = 4096;

/// The kernel keeps the data of a pipe in pages.
const PAGE: usize = 4096;

/// How often the room in the pipe is looked at while a large frame waits for
/// it. The kernel reports a pipe as writable once it has one free page, so
/// there is no event to wait for.
const ROOM_POLL: Duration = Duration::from_millis(1);

/// Why a FIFO could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The FIFO does not exist.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// No agent reads from `output`.
    #[error("no agent has {0} open")]
    NoReader(PathBuf),
    /// Anything else: no right, no FIFO, ….
    #[error("{path} cannot be opened: {source}")]
    Io {
        /// What was to be opened.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl OpenError {
    fn new(path: PathBuf, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing(path)
        } else if source.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) {
            Self::NoReader(path)
        } else {
            Self::Io { path, source }
        }
    }
}

/// Opens the FIFO that Ankaios writes to. Succeeds also while no agent has it
/// open; the first read then waits.
///
/// # Errors
/// The FIFO is missing or cannot be opened.
pub(super) fn open_input(folder: &Path) -> Result<Receiver, OpenError> {
    let path = folder.join("input");
    // Never `read_write`: with a writer of our own, the end of the agent would
    // not be seen.
    let input =
        OpenOptions::new().open_receiver(&path).map_err(|error| OpenError::new(path, error))?;
    enlarge(&input);
    Ok(input)
}

/// A small pipe only makes things slower and the largest request smaller, so
/// failing here is no error.
fn enlarge(pipe: &impl std::os::fd::AsFd) {
    let current = fcntl_getpipe_size(pipe).unwrap_or(0);
    for size in PIPE_SIZES {
        if size <= current || fcntl_setpipe_size(pipe, size).is_ok() {
            return;
        }
    }
    tracing::warn!(
        size = current,
        "the pipes to Ankaios cannot be enlarged; requests larger than this will be refused"
    );
}

/// The write end of the `output` FIFO.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    /// `None` only if opening it anew has failed.
    sender: Option<Sender>,
    capacity: usize,
    /// `None` where the kernel has no notifications left for this user.
    watch: Option<Watch>,
    unlinked: bool,
}

/// What has happened to `output` since the last look. Any of it may mean that
/// another session of the agent reads it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signs {
    /// Somebody else has opened it.
    pub(super) opened: bool,
    /// Its file was removed.
    pub(super) unlinked: bool,
}

impl Output {
    /// Opens the FIFO that Ankaios reads from.
    ///
    /// # Errors
    /// The FIFO is missing, cannot be opened, or no agent reads from it.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("output");
        let mut output =
            Self { path: path.clone(), sender: None, capacity: 0, watch: None, unlinked: false };
        output.open_path(&path)?;
        // Afterwards, so that it does not tell of our own opening.
        let watch = output.sender().and_then(|sender| Watch::new(&descriptor_path(sender)));
        output.watch = watch
            .inspect_err(|error| {
                tracing::warn!(
                    %error,
                    "output cannot be watched; restarts of Ankaios are noticed later. Raise \
                     fs.inotify.max_user_instances"
                );
            })
            .ok();
        output.unlinked = output.is_unlinked();
        Ok(output)
    }

    /// Closes the FIFO and opens it again after `pause`, in which the agent can
    /// see its end: it then takes the next byte for the first of a frame.
    ///
    /// It is the same FIFO that is opened, even if its file is removed in the
    /// meantime: after that there would be no other way back to the agent.
    ///
    /// # Errors
    /// The FIFO cannot be opened, or no agent reads from it any more.
    pub(super) async fn reopen(&mut self, pause: Duration) -> Result<(), OpenError> {
        let failed = |error: io::Error| OpenError::new(self.path.clone(), error);
        let handle = self.sender().and_then(handle).map_err(failed)?;
        self.sender = None;
        tokio::time::sleep(pause).await;
        let opened = self.open_path(&descriptor_path(&handle));
        // The agent has opened it again, too: that is what this was for.
        if let Some(watch) = &self.watch {
            watch.take();
        }
        opened
    }

    fn open_path(&mut self, path: &Path) -> Result<(), OpenError> {
        let sender = OpenOptions::new()
            .open_sender(path)
            .map_err(|error| OpenError::new(self.path.clone(), error))?;
        enlarge(&sender);
        self.capacity = fcntl_getpipe_size(&sender).unwrap_or(PAGE);
        self.sender = Some(sender);
        Ok(())
    }

    fn sender(&self) -> io::Result<&Sender> {
        self.sender.as_ref().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// The largest frame that fits, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Waits until there may be other [`Signs`]. Without notifications of the
    /// kernel that is never.
    pub(super) async fn touched(&self) {
        match &self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Whether [`Output::touched`] tells of signs, so that nobody need look for
    /// them from time to time.
    pub(super) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// What has happened since the last call.
    pub(super) fn signs(&mut self) -> Signs {
        let changes = self.watch.as_ref().map(Watch::take);
        let look = !self.unlinked && changes.is_none_or(|changes| changes.attributes);
        let unlinked = look && self.is_unlinked();
        self.unlinked |= unlinked;
        Signs { opened: changes.is_some_and(|changes| changes.opened), unlinked }
    }

    /// `true` once the file of the FIFO has been removed. Ankaios does that
    /// after its server was restarted, while the session goes on over the open
    /// descriptors.
    pub(super) fn is_unlinked(&self) -> bool {
        let stat = self.sender.as_ref().and_then(|sender| fstat(sender).ok());
        stat.is_some_and(|stat| stat.st_nlink == 0)
    }

    /// Waits until the last reader has gone.
    pub(super) async fn closed(&self) {
        // An error here means that the state of the pipe can no longer be
        // watched; for the caller that is the same.
        if let Some(sender) = &self.sender {
            let _ = sender.ready(Interest::ERROR).await;
        }
    }

    /// Writes a frame by one `write`, as soon as there is room for all of it.
    ///
    /// The agent gives up a frame that it has only half read when it has an
    /// answer to deliver, so a frame is never split. Cancelling the future
    /// before it is ready leaves nothing behind.
    ///
    /// # Errors
    /// `BrokenPipe` when the agent has gone, also if another one is there by
    /// now; `WriteZero` when the kernel has taken only a part, after which the
    /// agent is out of step.
    pub(super) async fn write_frame(&self, frame: &[u8]) -> io::Result<()> {
        tokio::select! {
            // First: a new agent must not get what was meant for the old one.
            biased;
            () = self.closed() => Err(io::ErrorKind::BrokenPipe.into()),
            written = self.write_when_there_is_room(frame) => written,
        }
    }

    async fn write_when_there_is_room(&self, frame: &[u8]) -> io::Result<()> {
        let sender = self.sender()?;
        loop {
            if frame.len() > ATOMIC_WRITE && !self.has_room(frame.len()) {
                tokio::time::sleep(ROOM_POLL).await;
                continue;
            }
            match sender.try_write(frame) {
                Ok(written) if written == frame.len() => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sender.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether `size` bytes surely fit. Pages may be filled only in part:
    /// neighbouring ones hold more than one page together, hence twice as many.
    fn has_room(&self, size: usize) -> bool {
        let unread = self
            .sender()
            .ok()
            .and_then(|sender| ioctl_fionread(sender).ok())
            .and_then(|unread| usize::try_from(unread).ok())
            .unwrap_or(usize::MAX);
        let used = match unread {
            0 => 0,
            unread => unread.div_ceil(PAGE).saturating_mul(2).saturating_add(2),
        };
        size.div_ceil(PAGE).saturating_add(used) <= self.capacity / PAGE
    }
}

/// Keeps a FIFO within reach without having it open for writing.
fn handle(pipe: &Sender) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::open(descriptor_path(pipe), flags, Mode::empty())?)
}

/// What a descriptor refers to, as a path that can be opened (proc(5)).
fn descriptor_path(descriptor: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, mknodat};

    #[tokio::test]
    async fn output_is_opened_anew_even_if_its_file_is_removed_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let agent = OpenOptions::new().open_receiver(&path).unwrap();
        let mut output = Output::open(folder.path()).unwrap();
        let (reopened, ()) = tokio::join!(output.reopen(ROOM_POLL), async {
            std::fs::remove_file(&path).unwrap();
        });
        reopened.unwrap();
        output.write_frame(b"a").await.unwrap();
        agent.readable().await.unwrap();
        assert_eq!(agent.try_read(&mut [0; 2]).unwrap(), 1);
        assert!(output.is_unlinked());
    }

    #[tokio::test]
    async fn nothing_is_written_to_an_agent_that_has_come_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let open_agent = || OpenOptions::new().open_receiver(&path).unwrap();
        let agent = open_agent();
        let output = Output::open(folder.path()).unwrap();
        output.write_frame(b"a").await.unwrap();
        drop(agent);
        // The runtime notices it, and goes on here.
        tokio::task::yield_now().await;
        let agent = open_agent();
        let error = output.write_frame(b"b").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        drop(agent);
    }

    #[tokio::test]
    async fn another_reader_and_a_removed_file_are_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let open_agent = || OpenOptions::new().open_receiver(&path).unwrap();
        let _agent = open_agent();
        let mut output = Output::open(folder.path()).unwrap();
        let nothing = Signs { opened: false, unlinked: false };
        assert_eq!(output.signs(), nothing);
        output.reopen(ROOM_POLL).await.unwrap();
        assert_eq!(output.signs(), nothing);
        let _another = open_agent();
        output.touched().await;
        assert_eq!(output.signs(), Signs { opened: true, unlinked: false });
        std::fs::remove_file(&path).unwrap();
        output.touched().await;
        assert_eq!(output.signs(), Signs { opened: false, unlinked: true });
        assert_eq!(output.signs(), nothing);
        output.watch = None;
        output.unlinked = false;
        assert_eq!(output.signs(), Signs { opened: false, unlinked: true });
    }
}
