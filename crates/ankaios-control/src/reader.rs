//! The task that reads `input`. It waits for nothing else: the agent cuts off a frame that it
//! cannot write within 500 ms.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use ankaios_model::proto::ank_base::Response;
use ankaios_model::proto::ank_base::response::ResponseContent;
use ankaios_model::proto::control_api::from_ankaios::FromAnkaiosEnum;
use bytes::BytesMut;
use futures_util::FutureExt;
use service_kit::clock::Moment;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::Decoder;
use tokio_util::io::poll_read_buf;

use super::codec::{Frame, FrameDecoder, FrameError};
use super::full_pipe::FullPipe;
use super::handshake::PROBE_SUFFIX;
use super::metrics::LinkMetrics;
use super::pending::Pending;

/// Bytes to read at once, unless a larger frame is expected.
const READ_SIZE: usize = 8 * 1024;

/// A frame whose rest does not arrive within this time was cut off: the agent stops writing
/// it after 500 ms.
pub(super) const FRAME_TIMEOUT: Duration = Duration::from_secs(1);

/// After this time without bytes, the next byte is expected to begin a frame.
const PAUSE: Duration = Duration::from_millis(100);

/// Limit for the time that is spent skipping bytes.
const SKIP_TIMEOUT: Duration = Duration::from_secs(1);

/// What the reader learns about the session, apart from answers to requests.
#[derive(Debug, Default, Clone)]
pub(super) struct Signals {
    /// Number of Hellos that the agent has accepted.
    pub(super) accepted_hellos: u64,
    /// The number of the last probe that was answered.
    pub(super) answered_probe: Option<u64>,
    /// How many times Ankaios has answered again after it was unresponsive.
    pub(super) recoveries: u64,
    /// How many times the agent may have given up frames without a trace.
    pub(super) given_up: u64,
    /// How many times an answer was lost although later ones have arrived.
    pub(super) lost_answers: u64,
    /// Why the agent has closed the session.
    pub(super) closed: Option<String>,
}

/// Why the reader has stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    /// The agent has closed its end.
    #[error("the agent has closed its end")]
    Eof,
    /// The position of the next frame is unknown.
    #[error("frame synchronization with the agent lost: {0}")]
    OutOfStep(FrameError),
    /// The agent has not sent the rest of a frame.
    #[error("frame synchronization with the agent lost: it has cut off a frame")]
    CutOff,
    /// Reading has failed.
    #[error("input cannot be read: {0}")]
    Io(io::Error),
}

/// Reads and delivers frames until one cannot be read. Returns the FIFO, because it may be the
/// only way left to the agent.
pub(super) async fn read(
    mut input: Receiver,
    pending: std::sync::Arc<Pending>,
    signals: watch::Sender<Signals>,
    metrics: LinkMetrics,
) -> (Receiver, Stop) {
    let stop = read_frames(&mut input, &pending, &signals, &metrics).await;
    (input, stop)
}

async fn read_frames(
    input: &mut Receiver,
    pending: &Pending,
    signals: &watch::Sender<Signals>,
    metrics: &LinkMetrics,
) -> Stop {
    let mut decoder = FrameDecoder::new(pending.prefix());
    let mut buffer = BytesMut::new();
    let mut arrival = FrameArrival::begin(input);
    loop {
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => {
                    metrics.frame_received();
                    deliver(frame, pending, signals, arrival.earliest);
                }
                Ok(None) => break,
                Err(error) => return Stop::OutOfStep(error),
            }
        }
        buffer.reserve(READ_SIZE);
        let read = if buffer.is_empty() {
            arrival.read(input, &mut buffer).await
        } else {
            match timeout(FRAME_TIMEOUT, arrival.read(input, &mut buffer)).await {
                Ok(read) => read,
                Err(_) => return Stop::CutOff,
            }
        };
        match read {
            Ok(0) => return Stop::Eof,
            Ok(bytes) => metrics.received(bytes),
            Err(error) => return Stop::Io(error),
        }
        if std::mem::take(&mut arrival.given_up) {
            signals.send_modify(|signals| signals.given_up += 1);
        }
    }
}

/// Determines the earliest time at which bytes can have arrived in the pipe. A process that
/// gets no CPU time for a while reads them late, and whoever resumes an interrupted log needs
/// the arrival of its last message.
struct FrameArrival {
    /// The bytes that were read last did not arrive before this time.
    earliest: Moment,
    /// The last time at which the pipe is known to have been empty.
    last_empty: Moment,
    full: FullPipe,
    /// The agent may have given up frames that would have followed those in the pipe.
    given_up: bool,
}

impl FrameArrival {
    fn begin(input: &Receiver) -> Self {
        let now = Moment::now();
        Self { earliest: now, last_empty: now, full: FullPipe::new(input), given_up: false }
    }

    /// Reads the bytes in the pipe, or waits for some. Dropping the future loses nothing.
    async fn read(&mut self, input: &mut Receiver, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|context| {
            let (now, space) = (Moment::now(), buffer.capacity() - buffer.len());
            self.given_up |= self.full.check(&*input, now);
            let read = match poll_read_buf(Pin::new(&mut *input), context, buffer) {
                Poll::Ready(read) => read?,
                Poll::Pending if was_closed(input)? => read_or_eof(input, buffer)?,
                Poll::Pending => return Poll::Pending,
            };
            self.earliest = self.last_empty;
            if read < space {
                self.last_empty = now;
            }
            Poll::Ready(Ok(read))
        })
        .await
    }
}

/// Whether an agent has closed `input`. The runtime keeps that state for as long as the FIFO is
/// registered. If another agent opens `input` before the end of file was read, the runtime
/// reports it as readable from then on, although there is nothing to read.
fn was_closed(input: &Receiver) -> io::Result<bool> {
    let ready = input.ready(Interest::READABLE).now_or_never().transpose()?;
    Ok(ready.is_some_and(|ready| ready.is_read_closed()))
}

/// Registers `input` with the runtime again, which clears the state that an agent has closed
/// it.
///
/// # Errors
/// The runtime does not accept the descriptor.
pub(super) fn reregister(input: Receiver) -> io::Result<Receiver> {
    Receiver::from_owned_fd_unchecked(input.into_nonblocking_fd()?)
}

/// Reads from an `input` that an agent has closed. Without bytes, that is the end of file.
fn read_or_eof(input: &Receiver, buffer: &mut BytesMut) -> io::Result<usize> {
    match input.try_read_buf(buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        read => read,
    }
}

fn deliver(frame: Frame, pending: &Pending, signals: &watch::Sender<Signals>, arrived: Moment) {
    match frame.message.from_ankaios_enum {
        Some(FromAnkaiosEnum::Response(response)) => {
            deliver_response(response, frame.size, pending, signals, arrived);
        }
        Some(FromAnkaiosEnum::ControlInterfaceAccepted(_)) => {
            signals.send_modify(|signals| signals.accepted_hellos += 1);
        }
        Some(FromAnkaiosEnum::ConnectionClosed(closed)) => {
            signals.send_modify(|signals| signals.closed = Some(closed.reason));
        }
        None => tracing::warn!("Ankaios has sent a message of an unknown kind; it is skipped"),
    }
}

fn deliver_response(
    response: Response,
    size: usize,
    pending: &Pending,
    signals: &watch::Sender<Signals>,
    arrived: Moment,
) {
    let Response { request_id, response_content } = response;
    if pending.record_answer() {
        signals.send_modify(|signals| signals.recoveries += 1);
    }
    let Some(content) = response_content else {
        tracing::warn!("Ankaios has sent a response of an unknown kind; it is skipped");
        return;
    };
    let probe = request_id.strip_suffix(PROBE_SUFFIX).and_then(|id| pending.number(id));
    // The agent itself refuses what the access rules do not allow.
    let by_server = !matches!(content, ResponseContent::Error(_));
    if by_server
        && let Some(number) = probe.or_else(|| pending.number(&request_id))
        && pending.overtaken_by(number)
    {
        signals.send_modify(|signals| signals.lost_answers += 1);
    }
    if probe.is_some() {
        signals.send_modify(|signals| signals.answered_probe = signals.answered_probe.max(probe));
    } else if !pending.answer(&request_id, content, size, arrived) {
        // Without the random prefix: others may read the log, and could forge answers with it.
        let number = request_id.strip_prefix(pending.prefix());
        tracing::debug!(number, "an answer that nobody waits for");
    }
}

/// Discards what the agent sends until it pauses, so that the next byte begins a frame.
pub(super) async fn skip(input: &mut Receiver) -> io::Result<()> {
    let deadline = Instant::now() + SKIP_TIMEOUT;
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let until = deadline.min(Instant::now() + PAUSE);
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

    use tokio::io::AsyncWriteExt;
    use tokio::net::unix::pipe::{OpenOptions, Sender};

    use super::*;
    use crate::test_fifo::create_fifo;

    /// `input` after one agent has closed it and another one has opened it. The runtime has
    /// noticed only the former.
    async fn input_with_another_agent() -> (Receiver, Sender) {
        let folder = tempfile::tempdir().unwrap();
        let path = create_fifo(folder.path(), "input");
        let input = OpenOptions::new().open_receiver(&path).unwrap();
        let open_agent = || OpenOptions::new().open_sender(&path).unwrap();
        drop(open_agent());
        input.readable().await.unwrap();
        let another = open_agent();
        (input, another)
    }

    #[tokio::test]
    async fn an_agent_whose_predecessor_went_unnoticed_ends_the_reading() {
        let (input, _another) = input_with_another_agent().await;
        let pending = Arc::new(Pending::new());
        let reading = read(input, pending, watch::Sender::default(), LinkMetrics::default());
        let (_, stop) = timeout(Duration::from_secs(5), reading).await.unwrap();
        assert!(matches!(stop, Stop::Eof), "{stop}");
    }

    #[tokio::test]
    async fn such_an_agent_is_read_after_the_fifo_is_registered_again() {
        let (input, mut another) = input_with_another_agent().await;
        let mut input = reregister(input).unwrap();
        assert!(!was_closed(&input).unwrap());
        another.write_all(b"a").await.unwrap();
        let mut arrival = FrameArrival::begin(&input);
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        assert_eq!(arrival.read(&mut input, &mut buffer).await.unwrap(), 1);
        drop(another);
        assert_eq!(arrival.read(&mut input, &mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn bytes_that_are_read_late_count_from_when_the_pipe_was_empty() {
        const LATE: usize = 3 * READ_SIZE - 1;
        let (input, mut agent) = input_with_another_agent().await;
        let mut input = reregister(input).unwrap();
        let mut arrival = FrameArrival::begin(&input);
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        agent.write_all(b"a").await.unwrap();
        arrival.read(&mut input, &mut buffer).await.unwrap();
        let empty = Moment::now();
        agent.write_all(&[b'b'; LATE]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut read = 0;
        while read < LATE {
            buffer.clear();
            buffer.reserve(READ_SIZE);
            read += arrival.read(&mut input, &mut buffer).await.unwrap();
            assert!(arrival.earliest.time <= empty.time, "{read} bytes");
        }
        agent.write_all(b"c").await.unwrap();
        arrival.read(&mut input, &mut buffer).await.unwrap();
        assert!(arrival.earliest.time >= empty.time + Duration::from_millis(50));
    }
}
