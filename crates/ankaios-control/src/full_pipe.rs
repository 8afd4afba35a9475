//! Detects that the agent may have given up frames without a trace.
//!
//! The agent gives up a frame that it cannot write within 500 ms. If it has written a part, the
//! next frame is out of step. If it has written nothing, everything is in step, but an answer, an
//! event or the rest of a log is missing. This happens when the pipe is full from the end of a
//! frame on, because this process gets no CPU time.

use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use rustix::fs::fstat;
use rustix::io::ioctl_fionread;
use rustix::param::page_size;
use rustix::pipe::fcntl_getpipe_size;
use service_kit::clock::Moment;

/// How long a pipe must have been full. A little less than 500 ms, because the kernel records the
/// time of a write in steps of some milliseconds.
const GIVE_UP: Duration = Duration::from_millis(450);

/// Checks one `input` before it is read.
#[derive(Debug)]
pub(super) struct FullPipe {
    last_check: Moment,
    /// The last write before the first check. Where writes do not change it, as with overlayfs,
    /// nothing is detected.
    first_write: Option<SystemTime>,
}

impl FullPipe {
    pub(super) fn new(input: impl AsFd) -> Self {
        Self { last_check: Moment::now(), first_write: last_write(input) }
    }

    /// Whether the agent may have given up frames since the last check. While the pipe is read
    /// without a pause, this makes no system call.
    pub(super) fn check(&mut self, input: impl AsFd, now: Moment) -> bool {
        let last_check = std::mem::replace(&mut self.last_check, now);
        let pause = now.instant.saturating_duration_since(last_check.instant);
        if pause < GIVE_UP || !is_full(&input) {
            return false;
        }
        let written = last_write(input).filter(|written| self.first_write != Some(*written));
        // A clock that was set back since then must not hide how long ago that was. One that was
        // set forward only starts streams again that have lost nothing.
        let now = now.time.checked_add(last_check.set_back(now)).unwrap_or(now.time);
        let age = written.and_then(|written| now.duration_since(written).ok());
        age.is_some_and(|age| age >= GIVE_UP)
    }
}

/// Whether the pipe may be full. Its pages may be filled in part, but two neighbouring ones hold
/// more than one page together, except for the first one, of which a part may have been read.
fn is_full(input: impl AsFd) -> bool {
    let page = page_size();
    let unread = ioctl_fionread(&input).ok().and_then(|unread| usize::try_from(unread).ok());
    let capacity = fcntl_getpipe_size(&input).ok();
    unread.zip(capacity).is_some_and(|(unread, capacity)| unread + 2 * page >= capacity / 2)
}

/// When the FIFO was written last.
fn last_write(input: impl AsFd) -> Option<SystemTime> {
    let stat = fstat(input).ok()?;
    let seconds = u64::try_from(stat.st_mtime).ok()?;
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::PathBuf;

    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    use tempfile::TempDir;
    use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};

    use super::*;
    use crate::test_fifo::create_fifo;

    /// The time from now on by both clocks.
    fn after(duration: Duration) -> Moment {
        let now = Moment::now();
        Moment { instant: now.instant + duration, time: now.time + duration }
    }

    /// An `input` that was written long ago.
    struct Input {
        _folder: TempDir,
        path: PathBuf,
        input: Receiver,
        agent: Sender,
    }

    impl Input {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let path = create_fifo(folder.path(), "input");
            let input = OpenOptions::new().open_receiver(&path).unwrap();
            let agent = OpenOptions::new().open_sender(&path).unwrap();
            let opened = Self { _folder: folder, path, input, agent };
            opened.set_last_write(SystemTime::UNIX_EPOCH);
            opened
        }

        fn set_last_write(&self, time: SystemTime) {
            let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let tv_sec = i64::try_from(time.as_secs()).unwrap();
            let time = Timespec { tv_sec, tv_nsec: time.subsec_nanos().into() };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, &self.path, &times, AtFlags::empty()).unwrap();
        }

        /// Writes frames that fill two pages, the second one by half, as long as there is room.
        async fn fill(&self) {
            self.agent.writable().await.unwrap();
            while self.agent.try_write(&vec![b'x'; page_size() * 3 / 2 + 1]).is_ok() {}
        }
    }

    #[tokio::test]
    async fn a_pipe_that_was_full_for_long_is_reported_once() {
        let pipe = Input::new();
        let mut full = FullPipe::new(&pipe.input);
        let late = after(10 * GIVE_UP);
        let later =
            |duration| Moment { instant: late.instant + duration, time: late.time + duration };
        assert!(!full.check(&pipe.input, late));
        pipe.fill().await;
        assert!(!full.check(&pipe.input, late));
        assert!(full.check(&pipe.input, later(GIVE_UP)));
        assert!(!full.check(&pipe.input, later(GIVE_UP)));
        assert!(!full.check(&pipe.input, later(GIVE_UP + GIVE_UP / 2)));
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_hides_nothing() {
        let pipe = Input::new();
        let mut full = FullPipe::new(&pipe.input);
        pipe.fill().await;
        let late = after(2 * GIVE_UP);
        let set_back = Moment { time: SystemTime::UNIX_EPOCH, ..late };
        assert!(full.check(&pipe.input, set_back));
    }

    /// As when a large state is written at once after a pause.
    #[tokio::test]
    async fn a_pipe_that_was_just_filled_is_not_reported() {
        let pipe = Input::new();
        let mut full = FullPipe::new(&pipe.input);
        pipe.fill().await;
        let late = after(10 * GIVE_UP);
        pipe.set_last_write(late.time - GIVE_UP / 2);
        assert!(!full.check(&pipe.input, late));
    }

    #[tokio::test]
    async fn a_pipe_with_room_is_not_reported() {
        let pipe = Input::new();
        let mut full = FullPipe::new(&pipe.input);
        pipe.fill().await;
        let capacity = fcntl_getpipe_size(&pipe.input).unwrap();
        pipe.input.readable().await.unwrap();
        assert!(pipe.input.try_read(&mut vec![0; capacity / 2]).unwrap() > capacity / 4);
        assert!(!full.check(&pipe.input, after(GIVE_UP)));
    }

    #[tokio::test]
    async fn a_file_system_that_does_not_record_writes_reports_nothing() {
        let pipe = Input::new();
        let mut full = FullPipe::new(&pipe.input);
        pipe.fill().await;
        pipe.set_last_write(SystemTime::UNIX_EPOCH);
        assert!(!full.check(&pipe.input, after(GIVE_UP)));
    }
}
