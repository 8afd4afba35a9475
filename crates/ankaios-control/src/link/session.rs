//! Communication over open FIFOs: establishes a session with the agent, writes requests in
//! order, and recovers after restarts and errors of the agent and the server.
//!
//! A session belongs to the agent's end of the FIFOs, not to this process:
//! - A new agent must read a Hello before anything else, or it closes the session for good.
//! - If only this process is new, the agent's session goes on, and it ignores a second Hello.
//!   So each Hello is followed by a small request, the *probe*, and an answer to either of
//!   them establishes the session.
//! - After a restart of Ankaios' server, the agent opens the same FIFOs for a new session while
//!   the old session still has them open, and then removes their files. So a Hello is written
//!   when another process opens `output`, with every request for a second after that, again
//!   when the file is removed, and as long as nothing is answered. The descriptors must stay
//!   open, because there is no other way to the agent.
//! - An agent that is out of step takes the first byte after `output` was closed and reopened
//!   as the beginning of a frame.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use service_kit::backoff::Backoff;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::context::{Context, OPEN_INTERVAL};
use crate::error::RequestError;
use crate::handshake::{probe, remedy, with_hello};
use crate::pipe::Output;
use crate::reader::{self, Signals, Stop};
use crate::status::LinkStatus;

/// The first and the longest wait before an unanswered Hello and probe are repeated.
const PROBE_INTERVAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));

/// After twice this time without any answer, `output` is reopened. Ankaios answers within milliseconds.
const SILENCE: Duration = Duration::from_secs(1);

/// After this time without any answer, a Hello and a probe are written. The reader has given up the rest of
/// a frame before: it would take their answers for that rest, and wait for a second after each of them.
const PROBE_AFTER: Duration = reader::FRAME_TIMEOUT.saturating_add(Duration::from_millis(200));

/// The time for which `output` stays closed while it is reopened. The agent must read the end of file
/// meanwhile, and on a busy machine 50 ms can pass before it gets processor time.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// The time for which the old session of the agent and the new one may both have `output` open.
/// Either may read a frame, so every request is written with a Hello.
const HANDOVER: Duration = Duration::from_secs(1);

/// Limit for reading the rest of `input` after the agent has closed `output`, and for waiting until
/// it closes `output` after `input`.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The sessions over one pair of open FIFOs.
pub(super) struct FifoSession<'a> {
    context: &'a mut Context,
    output: Output,
    reader: AbortOnDropHandle<(Receiver, Stop)>,
    signals: watch::Receiver<Signals>,
    /// For the next reader.
    signals_sender: watch::Sender<Signals>,
    /// The agent has answered a Hello or a probe, so requests may be written.
    established: bool,
    /// The next write must begin with a Hello.
    hello_due: bool,
    /// Every write before this time must begin with a Hello.
    handover_until: Instant,
    probe: Probe,
    /// The numbers of [`Signals::recoveries`] and of [`Signals::given_up`] that were handled.
    recoveries: u64,
    given_up: u64,
    /// The number of [`Signals::lost_answers`] that were handled.
    lost_answers: u64,
}

/// The probes since the last answer to one.
struct Probe {
    /// The first one that is unanswered. Ankaios may answer more slowly than probes are written,
    /// so the answer to any of them counts.
    first: Option<u64>,
    /// The number of Hellos that the agent had accepted when the last probe was written.
    accepted_hellos: u64,
    /// When to write the next one.
    next: Instant,
    waits: Backoff,
    /// The number of probes since `waits` was reset.
    count: u32,
}

impl<'a> FifoSession<'a> {
    pub(super) fn new(context: &'a mut Context, input: Receiver, output: Output) -> Self {
        let (signals_sender, signals) = watch::channel(Signals::default());
        let reader = spawn_reader(input, context, &signals_sender);
        Self {
            context,
            output,
            reader,
            signals,
            signals_sender,
            established: false,
            hello_due: false,
            handover_until: Instant::now(),
            probe: Probe {
                first: None,
                accepted_hellos: 0,
                next: Instant::now(),
                waits: Backoff::new(PROBE_INTERVAL.0, PROBE_INTERVAL.1),
                count: 0,
            },
            recoveries: 0,
            given_up: 0,
            lost_answers: 0,
        }
    }

    /// Serves the clients until the FIFOs are unusable. Returns why they are.
    pub(super) async fn run(mut self) -> String {
        self.begin_session();
        loop {
            let next_check = self.next_check();
            let result = tokio::select! {
                biased;
                () = self.context.heartbeat.answer() => Ok(()),
                stopped = &mut self.reader => match stopped {
                    Ok((input, stop)) => self.reader_stopped(input, stop).await,
                    // The reader has panicked, and the FIFO was closed with it.
                    Err(error) => Err(format!("the reader has failed: {error}")),
                },
                () = self.output.closed() => Err(self.agent_gone().await),
                _ = self.signals.changed() => {
                    self.handle_signals();
                    Ok(())
                }
                () = self.output.changed() => self.handle_output_changes().await,
                () = sleep_until(next_check) => self.check().await,
                () = self.context.pending.wait_for_unwritten(), if self.established => {
                    self.write_request().await
                }
            };
            if let Err(reason) = result {
                self.handle_signals();
                if let Err(error) = self.output.discard_unread() {
                    tracing::warn!(%error, "what the agent has not read stays in output");
                }
                return reason;
            }
        }
    }

    /// Waits until the reader has delivered what the agent has written. Returns the reason.
    async fn agent_gone(&mut self) -> String {
        // There is no end of `input` if the agent has closed `output` only.
        let _ = timeout(DRAIN_TIMEOUT, &mut self.reader).await;
        "the agent has gone".into()
    }

    /// When to call [`FifoSession::check`] if nothing else happens.
    fn next_check(&self) -> Instant {
        if !self.established {
            return self.probe.next;
        }
        match self.context.pending.silent_since() {
            Some(since) => {
                let next = self.probe.next.max(since + PROBE_AFTER);
                // The wait for the next probe must not delay the reopening.
                let reopening = since + 2 * SILENCE;
                if Instant::now() < reopening { next.min(reopening) } else { next }
            }
            // Without requests, only the FIFO shows that a restarted server has ended the streams.
            None if !self.output.is_watched() && self.context.pending.has_streams() => {
                Instant::now() + SILENCE
            }
            None => Instant::now() + Duration::from_secs(3600),
        }
    }

    /// Writes a Hello and a probe if the agent has begun a new session.
    async fn handle_output_changes(&mut self) -> Result<(), String> {
        self.detect_new_session();
        if self.hello_due { self.write_probe().await } else { Ok(()) }
    }

    /// Checks for silence, and writes a Hello and a probe if they are due.
    async fn check(&mut self) -> Result<(), String> {
        if self.established {
            // The silence of the old session does not count for a new one.
            let since =
                if self.detect_new_session() { None } else { self.context.pending.silent_since() };
            let silent = since.map_or(Duration::ZERO, |since| since.elapsed());
            if silent < PROBE_AFTER && !self.hello_due {
                return Ok(());
            }
            if silent >= 2 * SILENCE {
                self.context.set_unresponsive();
                self.reopen_output().await?;
            }
        } else if self.probe.first.is_some() {
            self.context.set_unresponsive();
            // The agent may have been out of step when this process started.
            if self.probe.count >= 2 {
                self.reopen_output().await?;
            }
        }
        self.write_probe().await
    }

    /// Writes a Hello and a probe. [`FifoSession::handle_signals`] handles their answers.
    async fn write_probe(&mut self) -> Result<(), String> {
        let (number, id) = self.context.pending.next_id();
        self.probe.first.get_or_insert(number);
        self.probe.accepted_hellos = self.signals.borrow().accepted_hellos;
        self.probe.next = Instant::now() + self.probe.waits.next_wait();
        self.probe.count = self.probe.count.saturating_add(1);
        let frame = with_hello(&probe(&id));
        self.detect_new_session();
        self.hello_due = !self.write(&frame, 2).await?;
        Ok(())
    }

    /// Writes the next request.
    async fn write_request(&mut self) -> Result<(), String> {
        // First, because a new session gets the unanswered requests of the old one before newer
        // ones.
        self.detect_new_session();
        let Some((number, mut frame)) = self.context.pending.first_unwritten() else {
            return Ok(());
        };
        let capacity = self.output.capacity();
        if frame.len() > capacity {
            let error = RequestError::TooLarge { size: frame.len(), capacity };
            self.context.pending.fail(number, error);
            return Ok(());
        }
        let mut frames = 1;
        let needs_hello = self.hello_due
            || Instant::now() < self.handover_until
            || self.context.pending.is_unresponsive();
        if needs_hello {
            let both = with_hello(&frame);
            if both.len() <= capacity {
                frame = both;
                frames = 2;
            } else {
                self.hello_due = !self.write(&with_hello(&[]), 1).await?;
                if self.hello_due {
                    return Ok(());
                }
            }
        }
        // Before writing, because the answer may arrive before `write` returns.
        if !self.context.pending.mark_written(number) {
            // It was completed while the Hello waited for space in the pipe.
            return Ok(());
        }
        let written = self.write(&frame, frames).await?;
        if frames > 1 {
            self.hello_due = !written;
        }
        Ok(())
    }

    /// Detects that the agent has begun a new session on the same FIFOs, which needs a Hello and
    /// the unanswered requests of the old session. Returns whether it has.
    fn detect_new_session(&mut self) -> bool {
        let changes = self.output.take_changes();
        // The new session of an agent opens the file; then the agent removes it.
        let in_handover = Instant::now() < self.handover_until;
        if changes.unlinked && (changes.opened || in_handover || !self.output.is_watched()) {
            tracing::info!("Ankaios' server has restarted; greeting its agent again");
            // The agent ends the old session before it removes the file.
            self.handover_until = Instant::now();
        } else if changes.unlinked {
            tracing::warn!(
                "output was removed, but not by Ankaios; exclude its run folder from \
                 systemd-tmpfiles, and restart the Ankaios agent"
            );
        } else if changes.opened {
            tracing::info!("the agent has reopened output; greeting it");
            self.handover_until = Instant::now() + HANDOVER;
        } else {
            return false;
        }
        self.context.metrics.reconnected();
        // Otherwise the loss was recorded when the file was opened.
        if !in_handover {
            self.context.pending.connection_lost();
        }
        self.hello_due = true;
        // Not `begin_session`: an agent that was out of step reopens `output` in the same
        // session, and when the file is removed, the new session has been in use for a while.
        self.resume_session();
        true
    }

    /// Writes `count` frames as a whole. Frames that cannot be written within the request
    /// timeout are dropped, because their callers have timed out. Returns whether they were
    /// written.
    async fn write(&mut self, frames: &[u8], count: u64) -> Result<bool, String> {
        let context = &mut *self.context;
        let begin = Instant::now();
        let end = begin + context.request_timeout;
        let write = |until| timeout_at(until, self.output.write_frame(frames));
        let mut until = begin + 2 * SILENCE;
        let written = loop {
            let written = context.heartbeat.while_waiting(write(end.min(until))).await;
            if written.is_ok() || until >= end {
                break written;
            }
            // An agent that reads slowly still answers what it has read.
            let silent_from = context.pending.last_answer() + 2 * SILENCE;
            until = if silent_from > until {
                silent_from
            } else {
                context.set_unresponsive();
                end
            };
        };
        match written {
            Ok(Ok(())) => {
                context.metrics.sent(count, frames.len());
                Ok(true)
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(self.agent_gone().await)
            }
            Ok(Err(error)) => Err(format!("output cannot be written: {error}")),
            Err(_) => {
                tracing::warn!("the agent does not read; a request to it is dropped");
                Ok(false)
            }
        }
    }

    /// Handles what the reader has learned about the session.
    fn handle_signals(&mut self) {
        let signals = self.signals.borrow_and_update().clone();
        let probe_answered =
            self.probe.first.is_some_and(|first| signals.answered_probe >= Some(first));
        let hello_accepted = signals.accepted_hellos > self.probe.accepted_hellos;
        self.probe.accepted_hellos = signals.accepted_hellos;
        let recovered = self.established && signals.recoveries > self.recoveries;
        self.recoveries = signals.recoveries;
        if signals.given_up > self.given_up {
            self.given_up = signals.given_up;
            tracing::warn!("input was not read in time; the agent may have dropped messages");
            self.resume_session();
        }
        if signals.lost_answers > self.lost_answers {
            self.lost_answers = signals.lost_answers;
            // The connection of the agent to its server was lost, and with it all subscriptions.
            tracing::warn!("Ankaios' agent has lost an answer; subscribing again");
            self.context.pending.abandon_streams();
        }
        if signals.closed.is_none() && (probe_answered || hello_accepted || recovered) {
            self.established = true;
            self.probe.first = None;
            self.probe.waits.reset();
            self.probe.count = 0;
            self.context.set_status(LinkStatus::Connected);
        }
        if let Some(reason) = signals.closed {
            self.signals_sender.send_if_modified(|signals| {
                signals.closed = None;
                false
            });
            self.established = false;
            // The answers that may still arrive belong to the closed session.
            self.probe.first = None;
            let remedy = remedy(&reason);
            let reason =
                format!("the agent has closed the control interface: {reason:?}; {remedy}");
            self.context.set_status(LinkStatus::Closed { reason: reason.clone() });
            self.context.pending.fail_all(&reason);
        }
    }

    /// Starts the next reader if `input` is still usable.
    async fn reader_stopped(&mut self, mut input: Receiver, stop: Stop) -> Result<(), String> {
        let unreadable = |error| Stop::Io(error).to_string();
        match stop {
            Stop::Eof if self.output.is_unlinked() => {
                // The FIFO cannot be opened again, so it is kept for an agent that has it open.
                sleep(OPEN_INTERVAL).await;
                input = reader::reregister(input).map_err(unreadable)?;
            }
            Stop::Eof => {
                // The agent closes `output` at the same time.
                let _ = timeout(DRAIN_TIMEOUT, self.output.closed()).await;
                return Err(stop.to_string());
            }
            Stop::OutOfStep(_) | Stop::CutOff => {
                tracing::warn!("{stop}; skipping input until the agent is silent");
                reader::skip(&mut input).await.map_err(unreadable)?;
                self.established = false;
                self.probe.first = None;
                self.probe.next = Instant::now();
                // The skipped bytes may have contained events.
                self.resume_session();
            }
            Stop::Io(_) => return Err(stop.to_string()),
        }
        self.reader = spawn_reader(input, self.context, &self.signals_sender);
        Ok(())
    }

    /// Reopens `output`, so that an agent that is out of step begins with a new frame.
    async fn reopen_output(&mut self) -> Result<(), String> {
        if self.output.is_unlinked() {
            return Ok(());
        }
        tracing::warn!("Ankaios does not answer; reopening output");
        self.output.reopen(REOPEN_PAUSE).await.map_err(|error| error.to_string())?;
        log_repeated(self.context.pending.requeue_after_silence());
        Ok(())
    }

    /// Begins a session with an agent that knows nothing of earlier ones.
    fn begin_session(&mut self) {
        self.context.pending.connection_lost();
        log_repeated(self.context.pending.begin_session());
    }

    /// Continues a session of which requests or answers may have been lost.
    fn resume_session(&mut self) {
        self.context.pending.abandon_streams();
        log_repeated(self.context.pending.requeue());
    }
}

fn log_repeated(requests: usize) {
    if requests > 0 {
        tracing::info!(requests, "repeating the unanswered requests");
    }
}

fn spawn_reader(
    input: Receiver,
    context: &Context,
    signals: &watch::Sender<Signals>,
) -> AbortOnDropHandle<(Receiver, Stop)> {
    let pending = Arc::clone(&context.pending);
    let task = reader::read(input, pending, signals.clone(), context.metrics.clone());
    AbortOnDropHandle::new(tokio::spawn(task))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
