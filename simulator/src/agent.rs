//! The agent's part of Ankaios: the session of one workload over its FIFOs.
//!
//! The session belongs to the FIFOs, not to the workload's process. It begins
//! with a Hello, goes on when the workload's process is replaced, and is over
//! when the agent goes, when it is swapped for a new one, or when the workload
//! breaks its rules.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fleet_connector::proto::ank_base::{Response, response::ResponseContent};
use fleet_connector::proto::control_api::{
    ConnectionClosed, ControlInterfaceAccepted, FromAnkaios, ToAnkaios,
    from_ankaios::FromAnkaiosEnum, to_ankaios::ToAnkaiosEnum,
};
use prost::Message;
use tokio::io::{Interest, Ready};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::faults::ReadPace;
use crate::fifos::{Fifos, reader_gone};
use crate::framing::{self, Frame};
use crate::record::Problem;
use crate::simulation::{OUTBOX, Shared};

/// A frame that can't be written within this time is cut off.
const WRITE_LIMIT: Duration = Duration::from_millis(500);

/// Between attempts to reach a workload that does not read.
const REOPEN_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes read at once.
const READ_SIZE: usize = 64 * 1024;

/// Bytes read before what has arrived is served. More than a pipe holds, so a
/// frame that was written in one go is read in one go.
const READ_LIMIT: usize = 4 * 1024 * 1024;

/// Pieces per second in which a slow reader reads.
const SLOW_READS_PER_SECOND: u32 = 50;

/// The version that the simulated Ankaios speaks; only the major one counts.
const SUPPORTED_MAJOR: &str = "1";

/// What the handle asks of the agent.
#[derive(Debug)]
pub(crate) enum Command {
    /// Make the FIFOs if they are missing, and begin a session on them.
    Start,
    /// Close the FIFOs, as the end of the process does. The files stay.
    Kill,
    /// Begin a new session on the same FIFOs while the old one has them open.
    Swap,
    /// Unlink the FIFOs and their folder.
    Unlink,
    /// End the session with a reason.
    Close(String),
    /// Write bytes as they are.
    Inject(Bytes),
}

/// A command and where its outcome is awaited.
pub(crate) type Order = (Command, oneshot::Sender<io::Result<()>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no session.
    None,
    /// Nothing counts before the first Hello.
    AwaitsHello,
    /// The workload is served.
    Open,
}

/// The task that owns the FIFOs.
pub(crate) struct Agent {
    fifos: Fifos,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    /// Reads what the workload writes to `output`.
    reader: Option<pipe::Receiver>,
    /// Writes what the workload reads from `input`.
    writer: Option<pipe::Sender>,
    phase: Phase,
    buffer: BytesMut,
    /// After an absurd length nothing makes sense until the workload reopens.
    discarding: bool,
    /// When a slow reader reads next.
    next_read: Instant,
}

impl Agent {
    pub(crate) fn new(fifos: Fifos, shared: Arc<Shared>, orders: mpsc::Receiver<Order>) -> Self {
        Self {
            fifos,
            shared,
            orders,
            reader: None,
            writer: None,
            phase: Phase::None,
            buffer: BytesMut::new(),
            discarding: false,
            next_read: Instant::now(),
        }
    }

    /// Serves the workload until the handle is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.deliver().await;
            let pace = self.shared.lock().faults.pace;
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some((command, done)) => {
                        let outcome = self.execute(command).await;
                        // The one who asked may have stopped waiting.
                        let _unheard = done.send(outcome);
                    }
                    None => return,
                },
                () = self.shared.wake.notified() => {}
                () = until(due) => {}
                readable = readable(self.reader.as_ref(), pace, self.next_read) => {
                    let outcome = match readable {
                        Ok(ready) => self.read(pace, ready),
                        Err(error) => Err(error),
                    };
                    if outcome.is_err() {
                        // A FIFO gives no errors but the end; there is no way on.
                        self.reader = None;
                    }
                }
            }
        }
    }

    async fn execute(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Start => {
                self.fifos.create()?;
                self.begin_session()
            }
            Command::Kill => {
                self.end_session();
                Ok(())
            }
            Command::Swap => self.begin_session(),
            Command::Unlink => self.fifos.unlink(),
            Command::Close(reason) => {
                self.close(reason).await;
                Ok(())
            }
            Command::Inject(bytes) => {
                if self.write(bytes).await {
                    Ok(())
                } else {
                    Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads `input`"))
                }
            }
        }
    }

    // -------------------------------------------------------------- session

    /// The new descriptors are opened before the old ones go, so a workload that
    /// has the FIFOs open notices nothing.
    fn begin_session(&mut self) -> io::Result<()> {
        let reader = self.fifos.open_output();
        let writer = self.fifos.open_input().ok();
        self.end_session();
        self.reader = Some(reader?);
        self.writer = writer;
        self.phase = Phase::AwaitsHello;
        Ok(())
    }

    fn end_session(&mut self) {
        self.reader = None;
        self.writer = None;
        self.phase = Phase::None;
        self.buffer.clear();
        self.discarding = false;
        self.shared.lock().end_session();
    }

    async fn close(&mut self, reason: String) {
        let closed = FromAnkaiosEnum::ConnectionClosed(ConnectionClosed { reason });
        self.send(closed).await;
        self.shared.lock().record.counters.closed += 1;
        self.end_session();
    }

    // -------------------------------------------------------------- reading

    /// Reads what is there.
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
                Ok(0) => return self.workload_closed(),
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if ready.is_read_closed() { self.watch_reader_anew() } else { Ok(()) };
                }
                Err(error) => return Err(error),
            }
            if self.discarding {
                self.buffer.clear();
            }
        }
        Ok(())
    }

    /// The workload has closed its end: the agent starts anew at the beginning
    /// of a frame, if the path is still there.
    fn workload_closed(&mut self) -> io::Result<()> {
        let received = self.buffer.len();
        self.buffer.clear();
        let mut simulation = self.shared.lock();
        simulation.record.counters.closings += 1;
        if received > 0 {
            simulation.problem(Problem::CutOff { received });
        }
        drop(simulation);
        self.discarding = false;
        self.reader = Some(self.fifos.open_output()?);
        Ok(())
    }

    /// The workload was replaced before its end was read. The runtime would call
    /// the FIFO readable for ever.
    fn watch_reader_anew(&mut self) -> io::Result<()> {
        if let Some(reader) = self.reader.take() {
            let fd = reader.into_nonblocking_fd()?;
            self.reader = Some(pipe::Receiver::from_owned_fd_unchecked(fd)?);
        }
        Ok(())
    }

    /// Serves the frames that have arrived, then delivers what there is.
    /// Returns when something happens next by itself.
    async fn deliver(&mut self) -> Option<Instant> {
        loop {
            let half_a_frame = self.serve().await;
            let response = {
                let mut simulation = self.shared.lock();
                simulation.advance(Instant::now());
                if self.phase != Phase::Open {
                    // Without a session there is nobody to hear it.
                    simulation.outbox.clear();
                }
                let Some(response) = simulation.outbox.pop_front() else {
                    let counters = simulation.record.counters;
                    let due = simulation.next_due();
                    drop(simulation);
                    self.shared.publish(counters);
                    self.shared.room.notify_waiters();
                    return due;
                };
                if simulation.faults.lose_half_read_frames && half_a_frame {
                    let received = self.buffer.len();
                    simulation.problem(Problem::LostHalfFrame { received });
                    self.buffer.clear();
                }
                response
            };
            let entries_of = entries_of(&response);
            let sent = self.send(FromAnkaiosEnum::Response(response)).await;
            let mut simulation = self.shared.lock();
            if sent {
                simulation.record.counters.delivered += 1;
            } else if let Some(request_id) = entries_of {
                // A reader that is too slow for a log loses the rest of it.
                simulation.vehicle.cancel_logs(&request_id);
            }
        }
    }

    /// Whether the rest is the beginning of a frame, not frames that have to wait.
    async fn serve(&mut self) -> bool {
        while !self.discarding && self.shared.lock().outbox.len() < OUTBOX {
            match framing::take_frame(&mut self.buffer) {
                Frame::Whole(frame) => self.receive(frame).await,
                Frame::Partial => return !self.buffer.is_empty(),
                Frame::Absurd(length) => {
                    self.shared.lock().problem(Problem::AbsurdLength(length));
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
            self.shared.lock().problem(Problem::Undecodable { length });
        }
        match (self.phase, message) {
            (Phase::Open, Some(ToAnkaiosEnum::Request(request))) => {
                self.shared.lock().request(request, Instant::now());
            }
            (Phase::Open, None) => {}
            (Phase::AwaitsHello, None) => {
                self.close("Could not decode protobuf data".to_owned()).await;
            }
            (_, Some(ToAnkaiosEnum::Hello(hello))) => self.hello(hello.protocol_version).await,
            (Phase::AwaitsHello, Some(ToAnkaiosEnum::Request(request))) => {
                self.shared.lock().problem(Problem::RequestBeforeHello(Box::new(request)));
                self.close("Initial Hello missing!".to_owned()).await;
            }
            (Phase::None, _) => {}
        }
    }

    /// Only the first Hello of a session is answered.
    async fn hello(&mut self, version: String) {
        self.shared.lock().record.counters.hellos += 1;
        if !is_supported(&version) {
            let reason = format!(
                "Unsupported protocol version '{version}'. \
                 Currently supported '{SUPPORTED_MAJOR}'"
            );
            self.shared.lock().problem(Problem::UnsupportedVersion(version));
            self.close(reason).await;
        } else if self.phase == Phase::AwaitsHello {
            self.phase = Phase::Open;
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

    /// Writes a frame. One that is not taken within the limit is cut off, in the
    /// middle if need be; a workload that does not read misses it.
    async fn write(&mut self, frame: Bytes) -> bool {
        let limit = tokio::time::Instant::now() + WRITE_LIMIT;
        let mut written = 0;
        let outcome = timeout_at(limit, async {
            loop {
                match self.try_write(&frame, &mut written).await {
                    Err(error) if reader_gone(&error) => {
                        self.writer = None;
                        written = 0;
                        sleep(REOPEN_INTERVAL).await;
                    }
                    outcome => return outcome.is_ok(),
                }
            }
        })
        .await;
        if outcome.is_err() && written > 0 {
            let problem = Problem::SlowReader { written, length: frame.len() };
            self.shared.lock().problem(problem);
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
                        self.watch_writer_anew()?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As [`Agent::watch_reader_anew`]: the workload that has gone may have been replaced.
    fn watch_writer_anew(&mut self) -> io::Result<()> {
        if let Some(writer) = self.writer.take() {
            let fd = writer.into_nonblocking_fd()?;
            self.writer = Some(pipe::Sender::from_owned_fd_unchecked(fd)?);
        }
        Ok(())
    }
}

/// The log stream that a response belongs to, if it brings entries.
fn entries_of(response: &Response) -> Option<String> {
    matches!(response.response_content, Some(ResponseContent::LogEntriesResponse(_)))
        .then(|| response.request_id.clone())
}

/// Any version with three numbers and the major one of Ankaios.
fn is_supported(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let numeric = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    numbers.len() == 3 && numbers.iter().all(numeric) && numbers.first() == Some(&SUPPORTED_MAJOR)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

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
