//! The task that reads `input`, and waits for nothing else: the agent cuts off
//! a frame that it cannot deliver within 500 ms.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::Decoder;
use tokio_util::io::poll_read_buf;

use super::codec::{Frame, FrameDecoder, FrameError};
use super::metrics::Metrics;
use super::pending::Pending;
use crate::proto::ank_base::Response;
use crate::proto::control_api::from_ankaios::FromAnkaiosEnum;

/// What is read at once, unless a larger frame is expected.
const READ_SIZE: usize = 8 * 1024;

/// A frame whose rest has not come within this time was cut off: the agent
/// gives up writing after 500 ms.
const FRAME_TIMEOUT: Duration = Duration::from_secs(1);

/// So long must `input` be silent before a new frame is expected to begin.
const QUIET: Duration = Duration::from_millis(100);

/// Skipping ends after this time even if `input` is never silent.
const SKIP_TIMEOUT: Duration = Duration::from_secs(1);

/// What the reader has noticed, apart from answers to requests.
#[derive(Debug, Default, Clone)]
pub(super) struct Heard {
    /// How often the agent has accepted a Hello.
    pub(super) accepted: u64,
    /// The number of the last probe that was answered.
    pub(super) probe: Option<u64>,
    /// How often Ankaios has answered after it had left something unanswered.
    pub(super) answers_again: u64,
    /// Why the agent has closed the session.
    pub(super) closed: Option<String>,
}

/// Why the reader has stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    /// The agent has closed its end.
    #[error("the agent has closed its end")]
    Eof,
    /// The position in the stream is lost.
    #[error("out of step with the agent: {0}")]
    OutOfStep(FrameError),
    /// The agent has not sent the rest of a frame.
    #[error("out of step with the agent: it has cut off a frame")]
    CutOff,
    /// Reading has failed.
    #[error("input cannot be read: {0}")]
    Io(io::Error),
}

/// Reads until something ends the stream of frames. Hands the FIFO back,
/// because it may be the only way to the agent that is left.
pub(super) async fn read(
    mut input: Receiver,
    pending: std::sync::Arc<Pending>,
    heard: watch::Sender<Heard>,
    metrics: Metrics,
) -> (Receiver, Stop) {
    let stop = read_frames(&mut input, &pending, &heard, &metrics).await;
    (input, stop)
}

async fn read_frames(
    input: &mut Receiver,
    pending: &Pending,
    heard: &watch::Sender<Heard>,
    metrics: &Metrics,
) -> Stop {
    let mut decoder = FrameDecoder::new(pending.prefix());
    let mut buffer = BytesMut::new();
    let mut times = Times { arrived: SystemTime::now(), empty: SystemTime::now() };
    loop {
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => {
                    metrics.frame_received();
                    deliver(frame, pending, heard, times.arrived);
                }
                Ok(None) => break,
                Err(error) => return Stop::OutOfStep(error),
            }
        }
        buffer.reserve(READ_SIZE);
        let read = if buffer.is_empty() {
            times.read(input, &mut buffer).await
        } else {
            match timeout(FRAME_TIMEOUT, times.read(input, &mut buffer)).await {
                Ok(read) => read,
                Err(_) => return Stop::CutOff,
            }
        };
        match read {
            Ok(0) => return Stop::Eof,
            Ok(bytes) => metrics.received(bytes),
            Err(error) => return Stop::Io(error),
        }
    }
}

/// When what is read had arrived in the pipe. A process that gets no time for a while
/// reads it only afterwards.
struct Times {
    /// What was read last had not arrived before.
    arrived: SystemTime,
    /// When the pipe was empty for the last time, as far as is known.
    empty: SystemTime,
}

impl Times {
    /// Reads what there is, or waits for it. Cancelling the future loses nothing.
    async fn read(&mut self, input: &mut Receiver, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|context| {
            let (now, room) = (SystemTime::now(), buffer.capacity() - buffer.len());
            let read = match poll_read_buf(Pin::new(&mut *input), context, buffer) {
                Poll::Ready(read) => read?,
                Poll::Pending if was_closed(input)? => read_to_end(input, buffer)?,
                Poll::Pending => return Poll::Pending,
            };
            self.arrived = self.empty;
            if read < room {
                self.empty = now;
            }
            Poll::Ready(Ok(read))
        })
        .await
    }
}

/// Whether an agent has closed `input`. The runtime never forgets that, also when another
/// one has opened it before the end was read: then it calls `input` readable for ever,
/// although there is nothing.
fn was_closed(input: &Receiver) -> io::Result<bool> {
    let ready = input.ready(Interest::READABLE).now_or_never().transpose()?;
    Ok(ready.is_some_and(|ready| ready.is_read_closed()))
}

/// Watches `input` as if it had been opened just now, so that only what happens from here
/// on counts: an agent that has it open already is waited for like any other.
///
/// # Errors
/// The runtime does not take the descriptor back.
pub(super) fn watch_anew(input: Receiver) -> io::Result<Receiver> {
    Receiver::from_owned_fd_unchecked(input.into_nonblocking_fd()?)
}

/// Nothing to read from an agent that has closed `input` is its end.
fn read_to_end(input: &Receiver, buffer: &mut BytesMut) -> io::Result<usize> {
    match input.try_read_buf(buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        read => read,
    }
}

fn deliver(frame: Frame, pending: &Pending, heard: &watch::Sender<Heard>, arrived: SystemTime) {
    match frame.message.from_ankaios_enum {
        Some(FromAnkaiosEnum::Response(response)) => {
            deliver_response(response, frame.size, pending, heard, arrived);
        }
        Some(FromAnkaiosEnum::ControlInterfaceAccepted(_)) => {
            heard.send_modify(|heard| heard.accepted += 1);
        }
        Some(FromAnkaiosEnum::ConnectionClosed(closed)) => {
            heard.send_modify(|heard| heard.closed = Some(closed.reason));
        }
        None => tracing::warn!("Ankaios has sent a message of an unknown kind; it is skipped"),
    }
}

fn deliver_response(
    response: Response,
    size: usize,
    pending: &Pending,
    heard: &watch::Sender<Heard>,
    arrived: SystemTime,
) {
    let Response { request_id, response_content } = response;
    if pending.heard() {
        heard.send_modify(|heard| heard.answers_again += 1);
    }
    let Some(content) = response_content else {
        tracing::warn!("Ankaios has sent a response of an unknown kind; it is skipped");
        return;
    };
    let probe = request_id.strip_suffix(PROBE_SUFFIX).and_then(|id| pending.number(id));
    if probe.is_some() {
        heard.send_modify(|heard| heard.probe = heard.probe.max(probe));
    } else if !pending.answer(&request_id, content, size, arrived) {
        // Without what makes an id of ours unforgeable: others may read the log.
        let number = request_id.strip_prefix(pending.prefix());
        tracing::debug!(number, "an answer that nobody waits for");
    }
}

/// Marks the request ids of probes.
pub(super) const PROBE_SUFFIX: &str = "-probe";

/// Throws away what the agent sends until it is silent, so that the next byte
/// begins a frame.
pub(super) async fn skip(input: &mut Receiver) -> io::Result<()> {
    let deadline = Instant::now() + SKIP_TIMEOUT;
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let until = deadline.min(Instant::now() + QUIET);
        match timeout_at(until, input.read(&mut buffer)).await {
            Err(_) | Ok(Ok(0)) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::io::AsyncWriteExt;
    use tokio::net::unix::pipe::{OpenOptions, Sender};

    use super::*;

    /// `input` after one agent has closed it and another has opened it, of which the runtime
    /// has seen the former only.
    async fn input_with_another_agent() -> (Receiver, Sender) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let input = OpenOptions::new().open_receiver(&path).unwrap();
        let open_agent = || OpenOptions::new().open_sender(&path).unwrap();
        drop(open_agent());
        input.readable().await.unwrap();
        let another = open_agent();
        (input, another)
    }

    #[tokio::test]
    async fn an_agent_that_has_come_unseen_ends_the_reading() {
        let (input, _another) = input_with_another_agent().await;
        let pending = Arc::new(Pending::new());
        let reading = read(input, pending, watch::Sender::default(), Metrics::default());
        let (_, stop) = timeout(Duration::from_secs(5), reading).await.unwrap();
        assert!(matches!(stop, Stop::Eof), "{stop}");
    }

    #[tokio::test]
    async fn an_agent_that_has_come_unseen_is_heard_once_it_is_watched_anew() {
        let (input, mut another) = input_with_another_agent().await;
        let mut input = watch_anew(input).unwrap();
        assert!(!was_closed(&input).unwrap());
        another.write_all(b"a").await.unwrap();
        let mut times = Times { arrived: SystemTime::now(), empty: SystemTime::now() };
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        assert_eq!(times.read(&mut input, &mut buffer).await.unwrap(), 1);
        drop(another);
        assert_eq!(times.read(&mut input, &mut buffer).await.unwrap(), 0);
    }
}
