//! The agent: the session of one workload over its FIFOs.
//!
//! A session belongs to the FIFOs, not to the process of the workload. It starts with a Hello and
//! continues if the process is replaced. It ends when the agent stops, when a new session replaces
//! it, or when the workload violates the protocol.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ankaios_model::proto::ank_base::{Response, response::ResponseContent};
use ankaios_model::proto::control_api::{
    ConnectionClosed, ControlInterfaceAccepted, FromAnkaios, ToAnkaios,
    from_ankaios::FromAnkaiosEnum, to_ankaios::ToAnkaiosEnum,
};
use bytes::{Bytes, BytesMut};
use prost::Message;
use rustix::io::ioctl_fionread;
use tokio::io::{Interest, Ready};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::faults::ReadPace;
use crate::fifos::{Fifos, has_no_reader};
use crate::framing::{self, NextFrame};
use crate::observations::Problem;
use crate::simulation::{OUTBOX_LIMIT, SharedSimulation};

/// Interval between attempts to write to a workload that has not opened `input`.
const REOPEN_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum number of bytes in one read.
const READ_SIZE: usize = 64 * 1024;

/// Maximum number of bytes to read before serving what has arrived. It exceeds the capacity of a
/// pipe, so that a frame from a single write is complete before it is served.
const READ_LIMIT: usize = 4 * 1024 * 1024;

/// Reads per second at [`ReadPace::BytesPerSecond`].
const SLOW_READS_PER_SECOND: u32 = 50;

/// The supported major version of the protocol. Minor and patch version do not matter.
const SUPPORTED_MAJOR: &str = "1";

/// A command of the handle to the agent.
#[derive(Debug)]
pub(crate) enum AgentCommand {
    /// Create the FIFOs unless they exist, and start a session on them.
    Start,
    /// Close the FIFOs without removing them, as when the process of the agent ends.
    Kill,
    /// Start the server anew, a new session on the same FIFOs, and unlink them.
    RestartServer,
    /// Start a new session on the same FIFOs before closing the old one.
    Swap,
    /// Unlink the FIFOs and their folder.
    Unlink,
    /// Close the session with `ConnectionClosed` and this reason.
    Close(String),
    /// Write these bytes to `input`.
    Inject(Bytes),
}

/// A command and the sender for its result.
pub(crate) type QueuedCommand = (AgentCommand, oneshot::Sender<io::Result<()>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    /// There is no session.
    None,
    /// The session has not received a Hello.
    AwaitingHello,
    /// The session serves requests.
    Open,
}

/// The agent, which owns the FIFOs.
pub(crate) struct SimulatedAgent {
    fifos: Fifos,
    shared: Arc<SharedSimulation>,
    commands: mpsc::Receiver<QueuedCommand>,
    /// The open FIFO `output`.
    reader: Option<pipe::Receiver>,
    /// The open FIFO `input`.
    writer: Option<pipe::Sender>,
    session: SessionState,
    /// Bytes from `output` that are not served.
    buffer: BytesMut,
    /// Whether what follows an invalid length is discarded, until the workload reopens `output`.
    discarding: bool,
    /// When to read next at [`ReadPace::BytesPerSecond`].
    next_read: Instant,
}

impl SimulatedAgent {
    pub(crate) fn new(
        fifos: Fifos,
        shared: Arc<SharedSimulation>,
        commands: mpsc::Receiver<QueuedCommand>,
    ) -> Self {
        Self {
            fifos,
            shared,
            commands,
            reader: None,
            writer: None,
            session: SessionState::None,
            buffer: BytesMut::new(),
            discarding: false,
            next_read: Instant::now(),
        }
    }

    /// Serves the workload until the handle is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.serve_and_send().await;
            let pace = self.shared.lock().faults.pace;
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some((command, done)) => {
                        let result = self.execute(command).await;
                        // Fails if the caller no longer waits.
                        let _ = done.send(result);
                    }
                    None => return,
                },
                () = self.shared.wake.notified() => {}
                () = sleep_until_due(due) => {}
                readable = readable(self.reader.as_ref(), pace, self.next_read) => {
                    let result = match readable {
                        Ok(ready) => self.read(pace, ready),
                        Err(error) => Err(error),
                    };
                    if result.is_err() {
                        // The FIFO cannot be reopened: its file is gone.
                        self.reader = None;
                    }
                }
            }
        }
    }

    async fn execute(&mut self, command: AgentCommand) -> io::Result<()> {
        match command {
            AgentCommand::Start => {
                self.fifos.create()?;
                self.start_session()
            }
            AgentCommand::Kill => {
                self.serve_arrived().await;
                self.end_session();
                Ok(())
            }
            AgentCommand::RestartServer => {
                self.serve_arrived().await;
                self.shared.lock().restart_server(Instant::now());
                if self.start_session().is_err() {
                    self.end_session();
                    return Ok(());
                }
                self.fifos.unlink()
            }
            AgentCommand::Swap => self.start_session(),
            AgentCommand::Unlink => self.fifos.unlink(),
            AgentCommand::Close(reason) => {
                self.close(reason).await;
                Ok(())
            }
            AgentCommand::Inject(bytes) => {
                if self.write(bytes).await {
                    Ok(())
                } else {
                    Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads `input`"))
                }
            }
        }
    }

    // -------------------------------------------------------------- session

    /// Starts a session. Opens the new descriptors before it closes the old ones, so that a
    /// workload that has the FIFOs open does not notice.
    fn start_session(&mut self) -> io::Result<()> {
        let reader = self.fifos.open_output();
        let writer = self.fifos.open_input().ok();
        self.end_session();
        self.reader = Some(reader?);
        self.writer = writer;
        self.session = SessionState::AwaitingHello;
        Ok(())
    }

    fn end_session(&mut self) {
        self.reader = None;
        self.writer = None;
        self.session = SessionState::None;
        self.buffer.clear();
        self.discarding = false;
        self.shared.lock().end_session();
    }

    async fn close(&mut self, reason: String) {
        let closed = FromAnkaiosEnum::ConnectionClosed(ConnectionClosed { reason });
        self.send(closed).await;
        self.shared.lock().observations.counters.closed_sessions += 1;
        self.end_session();
    }

    // -------------------------------------------------------------- reading

    /// Serves what the workload has written so far. A real agent reads without delay, so an old
    /// session leaves nothing in the pipe. This one may get no CPU time for a while.
    async fn serve_arrived(&mut self) {
        let pace = self.shared.lock().faults.pace;
        if pace == ReadPace::Full
            && let Some(reader) = &self.reader
            && ioctl_fionread(reader).is_ok_and(|unread| unread > 0)
            && let Ok(ready) = reader.ready(Interest::READABLE).await
        {
            // The session ends in any case.
            let _ = self.read(pace, ready);
            self.serve_and_send().await;
        }
    }

    /// Reads the available bytes.
    fn read(&mut self, pace: ReadPace, ready: Ready) -> io::Result<()> {
        let limit = match pace {
            ReadPace::Paused => return Ok(()),
            ReadPace::Full => READ_LIMIT,
            ReadPace::BytesPerSecond(speed) => {
                let piece = (speed / SLOW_READS_PER_SECOND).max(1);
                self.next_read = Instant::now() + Duration::from_secs(1) * piece / speed.max(1);
                piece as usize
            }
        };
        let mut read = 0;
        while let Some(reader) = &self.reader
            && read < limit
        {
            let size = READ_SIZE.min(limit - read);
            self.buffer.reserve(size);
            let count = if size < READ_SIZE {
                let mut piece = vec![0; size];
                let count = reader.try_read(&mut piece);
                if let Ok(count) = count {
                    self.buffer.extend_from_slice(piece.get(..count).unwrap_or_default());
                }
                count
            } else {
                reader.try_read_buf(&mut self.buffer)
            };
            match count {
                Ok(0) => return self.output_closed(),
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if ready.is_read_closed() {
                        self.register_reader_again()
                    } else {
                        Ok(())
                    };
                }
                Err(error) => return Err(error),
            }
            if self.discarding {
                self.buffer.clear();
            }
        }
        Ok(())
    }

    /// Drops a partial frame and reopens `output`, if its file still exists.
    fn output_closed(&mut self) -> io::Result<()> {
        let received = self.buffer.len();
        self.buffer.clear();
        let mut simulation = self.shared.lock();
        simulation.observations.counters.output_closings += 1;
        if received > 0 {
            simulation.observations.problem(Problem::CutOff { received });
        }
        drop(simulation);
        self.discarding = false;
        self.reader = Some(self.fifos.open_output()?);
        Ok(())
    }

    /// Registers `output` with the runtime again. If a workload closes `output` and another one
    /// opens it before the agent reads the end, the runtime reports it as readable forever.
    fn register_reader_again(&mut self) -> io::Result<()> {
        if let Some(reader) = self.reader.take() {
            let fd = reader.into_nonblocking_fd()?;
            self.reader = Some(pipe::Receiver::from_owned_fd_unchecked(fd)?);
        }
        Ok(())
    }

    /// Serves the frames that have arrived and sends the responses. Returns when something is due
    /// next.
    async fn serve_and_send(&mut self) -> Option<Instant> {
        loop {
            let has_partial_frame = self.serve().await;
            let response = {
                let mut simulation = self.shared.lock();
                simulation.advance(Instant::now());
                if self.session != SessionState::Open {
                    // There is no session that the responses belong to.
                    simulation.outbox.clear();
                }
                let Some(response) = simulation.outbox.pop_front() else {
                    let counters = simulation.observations.counters;
                    let due = simulation.next_due();
                    drop(simulation);
                    self.shared.publish(counters);
                    self.shared.room.notify_waiters();
                    return due;
                };
                if simulation.faults.lose_half_read_frames && has_partial_frame {
                    let received = self.buffer.len();
                    simulation.observations.problem(Problem::LostHalfFrame { received });
                    self.buffer.clear();
                }
                response
            };
            let log_stream = log_stream_of(&response);
            let sent = self.send(FromAnkaiosEnum::Response(response)).await;
            let mut simulation = self.shared.lock();
            if sent {
                simulation.observations.counters.delivered += 1;
            } else if let Some(request_id) = log_stream {
                // A workload that reads a log too slowly does not get the rest.
                simulation.server.cancel_logs(&request_id);
            }
        }
    }

    /// Serves the frames in the buffer, as long as the outbox has room. Returns whether a partial
    /// frame is left.
    async fn serve(&mut self) -> bool {
        while !self.discarding && self.shared.lock().outbox.len() < OUTBOX_LIMIT {
            match framing::take_frame(&mut self.buffer) {
                NextFrame::Complete(frame) => self.receive(frame).await,
                NextFrame::Incomplete => return !self.buffer.is_empty(),
                NextFrame::InvalidLength(length) => {
                    self.shared.lock().observations.problem(Problem::InvalidLength(length));
                    self.buffer.clear();
                    self.discarding = true;
                }
            }
        }
        false
    }

    async fn receive(&mut self, frame: Bytes) {
        let length = frame.len();
        let message = ToAnkaios::decode(frame).ok().and_then(|message| message.to_ankaios_enum);
        if message.is_none() {
            self.shared.lock().observations.problem(Problem::Undecodable { length });
        }
        match (self.session, message) {
            (SessionState::Open, Some(ToAnkaiosEnum::Request(request))) => {
                self.shared.lock().request(request, Instant::now());
            }
            (SessionState::Open, None) => {}
            (SessionState::AwaitingHello, None) => {
                self.close("Could not decode protobuf data".to_owned()).await;
            }
            (_, Some(ToAnkaiosEnum::Hello(hello))) => self.hello(hello.protocol_version).await,
            (SessionState::AwaitingHello, Some(ToAnkaiosEnum::Request(request))) => {
                self.shared
                    .lock()
                    .observations
                    .problem(Problem::RequestBeforeHello(Box::new(request)));
                self.close("Initial Hello missing!".to_owned()).await;
            }
            (SessionState::None, _) => {}
        }
    }

    /// Only the first Hello of a session is answered.
    async fn hello(&mut self, version: String) {
        self.shared.lock().observations.counters.hellos += 1;
        if !is_supported(&version) {
            let reason = format!(
                "Unsupported protocol version '{version}'. \
                 Currently supported '{SUPPORTED_MAJOR}'"
            );
            self.shared.lock().observations.problem(Problem::UnsupportedVersion(version));
            self.close(reason).await;
        } else if self.session == SessionState::AwaitingHello {
            self.session = SessionState::Open;
            let accepted = ControlInterfaceAccepted {};
            if !self.send(FromAnkaiosEnum::ControlInterfaceAccepted(accepted)).await {
                self.end_session();
            }
        }
    }

    // -------------------------------------------------------------- writing

    async fn send(&mut self, message: FromAnkaiosEnum) -> bool {
        let message = FromAnkaios { from_ankaios_enum: Some(message) };
        self.write(framing::frame(&message)).await
    }

    /// Writes a frame, at most for the [`WriteLimit`](crate::faults::WriteLimit). Returns whether it
    /// was written completely. A workload that does not read gets nothing or only a part.
    async fn write(&mut self, frame: Bytes) -> bool {
        let limit = tokio::time::Instant::now() + self.shared.lock().faults.write_limit.0;
        let mut written = 0;
        let outcome = timeout_at(limit, async {
            loop {
                match self.try_write(&frame, &mut written).await {
                    Err(error) if has_no_reader(&error) => {
                        self.writer = None;
                        written = 0;
                        sleep(REOPEN_INTERVAL).await;
                    }
                    outcome => return outcome.is_ok(),
                }
            }
        })
        .await;
        if outcome.is_err() && self.writer.is_some() {
            let problem = Problem::SlowReader { written, length: frame.len() };
            self.shared.lock().observations.problem(problem);
        }
        outcome.unwrap_or(false)
    }

    async fn try_write(&mut self, frame: &[u8], written: &mut usize) -> io::Result<()> {
        while let Some(rest) = frame.get(*written..).filter(|rest| !rest.is_empty()) {
            let writer = match &mut self.writer {
                Some(writer) => writer,
                none => none.insert(self.fifos.open_input()?),
            };
            match writer.try_write(rest) {
                Ok(count) => *written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if writer.ready(Interest::WRITABLE).await?.is_write_closed() {
                        self.register_writer_again()?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Registers `input` with the runtime again, for the same reason as `output`.
    fn register_writer_again(&mut self) -> io::Result<()> {
        if let Some(writer) = self.writer.take() {
            let fd = writer.into_nonblocking_fd()?;
            self.writer = Some(pipe::Sender::from_owned_fd_unchecked(fd)?);
        }
        Ok(())
    }
}

/// The request id of the log stream, if a response contains log entries.
fn log_stream_of(response: &Response) -> Option<String> {
    matches!(response.response_content, Some(ResponseContent::LogEntriesResponse(_)))
        .then(|| response.request_id.clone())
}

/// Whether a version consists of three numbers, the first of which is the supported major version.
/// A pre-release or build suffix is allowed.
fn is_supported(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let numeric = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    numbers.len() == 3 && numbers.iter().all(numeric) && numbers.first() == Some(&SUPPORTED_MAJOR)
}

async fn sleep_until_due(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits until `output` is to be read.
async fn readable(
    reader: Option<&pipe::Receiver>,
    pace: ReadPace,
    next_read: Instant,
) -> io::Result<Ready> {
    match (reader, pace) {
        (Some(reader), ReadPace::Full) => reader.ready(Interest::READABLE).await,
        (Some(reader), ReadPace::BytesPerSecond(_)) => {
            sleep_until(next_read.into()).await;
            reader.ready(Interest::READABLE).await
        }
        (None, _) | (_, ReadPace::Paused) => std::future::pending().await,
    }
}
