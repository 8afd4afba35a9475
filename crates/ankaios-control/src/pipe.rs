//! The two FIFOs of the control interface: opens them, detects changes of `output`, and writes
//! a frame as a whole.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fstat};
use rustix::io::ioctl_fionread;
use rustix::param::page_size;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use tokio::io::Interest;
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};

use super::fifo_watch::FifoWatch;

/// Sizes of the pipes to ask the kernel for, in bytes; the first one that it grants is used.
/// Without `CAP_SYS_RESOURCE` its limit is 1 MiB (`fs.pipe-max-size`).
const PIPE_SIZES: [usize; 3] = [2 * 1024 * 1024, 1024 * 1024, 256 * 1024];

/// POSIX guarantees that a write up to this size is atomic (`PIPE_BUF` on Linux).
const ATOMIC_WRITE: usize = 4096;

/// Time between checks of the free space in the pipe while a large frame waits for it. The
/// kernel reports a pipe as writable once one page is free, so there is no event to wait for.
const SPACE_POLL: Duration = Duration::from_millis(1);

/// Why a FIFO could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The FIFO does not exist.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// No agent reads from `output`.
    #[error("no agent has {0} open")]
    NoReader(PathBuf),
    /// Any other error, such as a missing right or a file that is not a FIFO.
    #[error("{path} cannot be opened: {source}")]
    Io {
        /// The file that cannot be opened.
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

/// Opens the FIFO that the agent writes to. If no agent has it open, the first read waits for
/// one.
///
/// # Errors
/// The FIFO is missing or cannot be opened.
pub(super) fn open_input(folder: &Path) -> Result<Receiver, OpenError> {
    let path = folder.join("input");
    // Not `read_write`: this process would count as a writer, and there would be no end of file
    // when the agent goes.
    let input =
        OpenOptions::new().open_receiver(&path).map_err(|error| OpenError::new(path, error))?;
    enlarge(&input);
    Ok(input)
}

/// Enlarges a pipe as far as the kernel allows. A small pipe is no error: it is slower, and
/// limits the size of requests.
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
    /// `None` while it is reopened, and if that has failed.
    sender: Option<Sender>,
    /// Size of the pipe in bytes.
    capacity: usize,
    /// `None` if this user has no inotify instance left.
    watch: Option<FifoWatch>,
    /// Its file was removed, and that has been reported.
    unlinked: bool,
}

/// What has happened to `output` since it was last asked for. After either change, another
/// session of the agent may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutputChanges {
    /// Another process has opened it.
    pub(super) opened: bool,
    /// Its file was removed.
    pub(super) unlinked: bool,
}

impl Output {
    /// Opens the FIFO that the agent reads from.
    ///
    /// # Errors
    /// The FIFO is missing, cannot be opened, or no agent reads from it.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("output");
        let mut output =
            Self { path: path.clone(), sender: None, capacity: 0, watch: None, unlinked: false };
        output.open_path(&path)?;
        // Only now, so that this process' own opening is not reported.
        let watch = output.sender().and_then(|sender| FifoWatch::new(&descriptor_path(sender)));
        output.watch = watch
            .inspect_err(|error| {
                tracing::warn!(
                    %error,
                    "output cannot be watched; restarts of Ankaios are detected later. Raise \
                     fs.inotify.max_user_instances"
                );
            })
            .ok();
        output.unlinked = output.is_unlinked();
        Ok(output)
    }

    /// Closes the FIFO and opens it again after `pause`. The agent reads the end of file during
    /// the pause, and takes the next byte as the first one of a frame.
    ///
    /// This opens the same FIFO even if its file is removed during the pause: there would be no
    /// other way to reach the agent.
    ///
    /// # Errors
    /// The FIFO cannot be opened, or no agent reads from it any more.
    pub(super) async fn reopen(&mut self, pause: Duration) -> Result<(), OpenError> {
        let failed = |error: io::Error| OpenError::new(self.path.clone(), error);
        let handle = self.sender().and_then(path_handle).map_err(failed)?;
        self.sender = None;
        tokio::time::sleep(pause).await;
        let opened = self.open_path(&descriptor_path(&handle));
        // The agent opens it again, too; that is no change to report.
        if let Some(watch) = &self.watch {
            watch.take();
        }
        opened
    }

    /// Discards what an agent that has gone did not read. Another agent would read it before the
    /// Hello, and close its session for good.
    ///
    /// The kernel discards it, too, but only when no process has the FIFO open. A program that is
    /// being started has inherited it for a moment, and the next agent may open it first.
    ///
    /// # Errors
    /// The FIFO cannot be opened or read.
    pub(super) fn discard_unread(&self) -> io::Result<()> {
        let Some(sender) = &self.sender else { return Ok(()) };
        let path = descriptor_path(sender);
        // It can be opened if another agent is there already.
        if OpenOptions::new().open_sender(&path).is_ok() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut unread = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        match io::copy(&mut unread, &mut io::sink()) {
            // This process has it open for writing, so there is no end of file.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            read => read.map(drop),
        }
    }

    fn open_path(&mut self, path: &Path) -> Result<(), OpenError> {
        let sender = OpenOptions::new()
            .open_sender(path)
            .map_err(|error| OpenError::new(self.path.clone(), error))?;
        enlarge(&sender);
        self.capacity = fcntl_getpipe_size(&sender).unwrap_or(ATOMIC_WRITE);
        self.sender = Some(sender);
        Ok(())
    }

    fn sender(&self) -> io::Result<&Sender> {
        self.sender.as_ref().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Size of the pipe, and so of the largest frame that fits, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Waits until there may be [`OutputChanges`]. Never returns without notifications of the
    /// kernel.
    pub(super) async fn changed(&self) {
        match &self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Whether [`Output::changed`] reports changes. Otherwise the caller has to check for them
    /// from time to time.
    pub(super) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// The changes since the last call.
    pub(super) fn take_changes(&mut self) -> OutputChanges {
        let changes = self.watch.as_ref().map(FifoWatch::take);
        let check = !self.unlinked && changes.is_none_or(|changes| changes.attributes);
        let unlinked = check && self.is_unlinked();
        self.unlinked |= unlinked;
        OutputChanges { opened: changes.is_some_and(|changes| changes.opened), unlinked }
    }

    /// Whether the file of the FIFO has been removed. Ankaios removes it after a restart of its
    /// server, while the session goes on over the open descriptors.
    pub(super) fn is_unlinked(&self) -> bool {
        let stat = self.sender.as_ref().and_then(|sender| fstat(sender).ok());
        stat.is_some_and(|stat| stat.st_nlink == 0)
    }

    /// Waits until the last reader has gone.
    pub(super) async fn closed(&self) {
        // An error means that the runtime is shutting down; to the caller that is the same.
        if let Some(sender) = &self.sender {
            let _ = sender.ready(Interest::ERROR).await;
        }
    }

    /// Writes a frame with one `write`, as soon as there is space for all of it.
    ///
    /// A frame is never split: the agent discards one that it has read in part when it has an
    /// answer to deliver. If the future is dropped before it is ready, nothing was written.
    ///
    /// # Errors
    /// `BrokenPipe` if the agent has gone, even if another one has come since; `WriteZero` if
    /// the kernel has taken only a part of the frame: the agent is then out of step.
    pub(super) async fn write_frame(&self, frame: &[u8]) -> io::Result<()> {
        tokio::select! {
            // First, because a new agent must not get what was meant for the old one.
            biased;
            () = self.closed() => Err(io::ErrorKind::BrokenPipe.into()),
            written = self.write_when_it_fits(frame) => written,
        }
    }

    async fn write_when_it_fits(&self, frame: &[u8]) -> io::Result<()> {
        let sender = self.sender()?;
        loop {
            if frame.len() > ATOMIC_WRITE && !self.has_space_for(frame.len()) {
                tokio::time::sleep(SPACE_POLL).await;
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

    /// Whether `size` bytes fit for certain. Pages may be filled in part, but two neighbouring
    /// ones hold more than one page together, so the unread bytes take at most twice as many
    /// pages as they would fill.
    fn has_space_for(&self, size: usize) -> bool {
        // 4 KiB on x86-64; 16 or 64 KiB on some arm64 machines.
        let page = page_size();
        let unread = self
            .sender()
            .ok()
            .and_then(|sender| ioctl_fionread(sender).ok())
            .and_then(|unread| usize::try_from(unread).ok())
            .unwrap_or(usize::MAX);
        let used = match unread {
            0 => 0,
            unread => unread.div_ceil(page).saturating_mul(2).saturating_add(2),
        };
        size.div_ceil(page).saturating_add(used) <= self.capacity / page
    }
}

/// A descriptor by which a FIFO can be opened again, and which does not count as a writer.
fn path_handle(pipe: &Sender) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::open(descriptor_path(pipe), flags, Mode::empty())?)
}

/// A path that opens what a descriptor refers to (proc(5)).
fn descriptor_path(descriptor: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::test_fifo::create_fifo;

    /// A folder with the FIFO `output`, and its path.
    fn folder_with_output() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = create_fifo(folder.path(), "output");
        (folder, path)
    }

    /// The end of `output` that an agent opens.
    fn open_agent(path: &Path) -> Receiver {
        OpenOptions::new().open_receiver(path).unwrap()
    }

    #[tokio::test]
    async fn output_is_reopened_even_if_its_file_is_removed_meanwhile() {
        let (folder, path) = folder_with_output();
        let agent = open_agent(&path);
        let mut output = Output::open(folder.path()).unwrap();
        let (reopened, ()) = tokio::join!(output.reopen(SPACE_POLL), async {
            std::fs::remove_file(&path).unwrap();
        });
        reopened.unwrap();
        output.write_frame(b"a").await.unwrap();
        agent.readable().await.unwrap();
        assert_eq!(agent.try_read(&mut [0; 2]).unwrap(), 1);
        assert!(output.is_unlinked());
    }

    #[tokio::test]
    async fn nothing_is_written_to_an_agent_whose_predecessor_went_unnoticed() {
        let (folder, path) = folder_with_output();
        let agent = open_agent(&path);
        let output = Output::open(folder.path()).unwrap();
        output.write_frame(b"a").await.unwrap();
        drop(agent);
        // The runtime notices it, and goes on here.
        tokio::task::yield_now().await;
        let agent = open_agent(&path);
        let error = output.write_frame(b"b").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        drop(agent);
    }

    #[tokio::test]
    async fn what_an_agent_that_has_gone_did_not_read_is_discarded() {
        let (folder, path) = folder_with_output();
        let agent = open_agent(&path);
        let output = Output::open(folder.path()).unwrap();
        output.write_frame(b"a").await.unwrap();
        output.discard_unread().unwrap();
        assert_eq!(ioctl_fionread(&agent).unwrap(), 1, "the agent is still there");
        // As a process does that inherits the open files of this one.
        let _kept_open = OpenOptions::new().open_sender(&path).unwrap();
        drop(agent);
        output.discard_unread().unwrap();
        drop(output);
        assert_eq!(ioctl_fionread(open_agent(&path)).unwrap(), 0);
    }

    #[tokio::test]
    async fn another_reader_and_a_removed_file_are_reported_once() {
        let (folder, path) = folder_with_output();
        let _agent = open_agent(&path);
        let mut output = Output::open(folder.path()).unwrap();
        let nothing = OutputChanges { opened: false, unlinked: false };
        assert_eq!(output.take_changes(), nothing);
        output.reopen(SPACE_POLL).await.unwrap();
        assert_eq!(output.take_changes(), nothing);
        let _another = open_agent(&path);
        output.changed().await;
        assert_eq!(output.take_changes(), OutputChanges { opened: true, unlinked: false });
        std::fs::remove_file(&path).unwrap();
        output.changed().await;
        assert_eq!(output.take_changes(), OutputChanges { opened: false, unlinked: true });
        assert_eq!(output.take_changes(), nothing);
        output.watch = None;
        output.unlinked = false;
        assert_eq!(output.take_changes(), OutputChanges { opened: false, unlinked: true });
    }
}
