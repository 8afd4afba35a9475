//! The FIFOs while they are open: proves that an agent is behind them, writes
//! requests in order, and finds back after whatever happens to agent and server.
//!
//! A session belongs to the agent's end of the FIFOs, not to our process:
//! - A new agent must see a Hello before anything else, or it closes the
//!   session for good.
//! - A session that goes on, because only our process is new, answers no second
//!   Hello. So a small request, the *probe*, follows each Hello, and either
//!   answer proves the link.
//! - When Ankaios' server has restarted, the agent opens the same FIFOs for a new
//!   session while the former one still has them open, and then removes their
//!   files. So a Hello goes to whoever opens `output`, in front of all requests
//!   for a moment, again when the file is gone, and also as long as nothing is
//!   answered. The descriptors must be kept: there is no other way back in.
//! - Closing and opening `output` makes an agent that is out of step begin anew
//!   at the next frame.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::{Link, OPEN_INTERVAL};
use crate::ankaios::client::RequestError;
use crate::ankaios::greeting::{probe, with_hello};
use crate::ankaios::pipe::Output;
use crate::ankaios::reader::{self, Heard, PROBE_SUFFIX, Stop};
use crate::ankaios::status::LinkStatus;

/// The first and the longest wait before a Hello that nobody has answered is
/// repeated.
const PROBE_INTERVAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3));

/// Ankaios answers within milliseconds. After this time without any answer it
/// is asked whether it still listens; after the second time, `output` is opened
/// anew.
const SILENCE: Duration = Duration::from_secs(1);

/// While the former session and the new one have `output` open, either may read
/// what is written. So long every request carries a Hello.
const SWAP: Duration = Duration::from_secs(1);

/// How long the end of `input` is waited for after that of `output`.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The FIFOs, from opening them until they are of no use any more.
pub(super) struct Session<'a> {
    link: &'a mut Link,
    output: Output,
    heard: watch::Receiver<Heard>,
    reader: AbortOnDropHandle<(Receiver, Stop)>,
    heard_sender: watch::Sender<Heard>,
    /// Requests may be written: this session has seen a Hello.
    proven: bool,
    /// A Hello must go in front of what is written next.
    greet: bool,
    /// Until when it must go in front of everything.
    swapping_until: Instant,
    probe: Probe,
    /// How often a silence has ended.
    answers_again: u64,
}

/// The probes that wait for an answer.
struct Probe {
    /// The first of them. Ankaios may be slower than they follow one another, so the
    /// answer to any of them counts.
    first: Option<u64>,
    /// Hellos that had been accepted when the last one was sent.
    accepted: u64,
    /// When to send the next one.
    next: Instant,
    /// Doubled with each one that has no answer.
    interval: Duration,
}

impl<'a> Session<'a> {
    pub(super) fn new(link: &'a mut Link, input: Receiver, output: Output) -> Self {
        let (heard_sender, heard) = watch::channel(Heard::default());
        let reader = spawn_reader(input, link, &heard_sender);
        Self {
            link,
            output,
            heard,
            reader,
            heard_sender,
            proven: false,
            greet: false,
            swapping_until: Instant::now(),
            probe: Probe {
                first: None,
                accepted: 0,
                next: Instant::now(),
                interval: PROBE_INTERVAL.0,
            },
            answers_again: 0,
        }
    }

    /// Returns why the FIFOs are of no use any more.
    pub(super) async fn run(mut self) -> String {
        self.begin_session();
        loop {
            let look = self.next_look();
            let result = tokio::select! {
                biased;
                () = self.link.progress.asked() => Ok(()),
                stopped = &mut self.reader => match stopped {
                    Ok((input, stop)) => self.reader_stopped(input, stop).await,
                    // Only a panic ends the task like this; the FIFO is gone with it.
                    Err(error) => Err(format!("the reader has failed: {error}")),
                },
                () = self.output.closed() => Err(self.agent_gone().await),
                _ = self.heard.changed() => {
                    self.listen();
                    Ok(())
                }
                () = self.output.touched() => self.look_at_output().await,
                () = sleep_until(look) => self.look().await,
                () = self.link.pending.wait_unwritten(), if self.proven => {
                    self.write_request().await
                }
            };
            if let Err(reason) = result {
                self.listen();
                return reason;
            }
        }
    }

    /// What the agent has said before it went still counts.
    async fn agent_gone(&mut self) -> String {
        // Without an end of `input`, it has closed `output` only.
        let _ = timeout(LAST_WORDS, &mut self.reader).await;
        "the agent has gone".into()
    }

    /// When the session must be looked at even if nothing happens.
    fn next_look(&self) -> Instant {
        if !self.proven {
            return self.probe.next;
        }
        match self.link.pending.silent_since() {
            Some(since) => self.probe.next.max(since + SILENCE),
            // The end of a stream by a restart of the server shows only in the FIFOs.
            None if !self.output.is_watched() && self.link.pending.has_streams() => {
                Instant::now() + SILENCE
            }
            None => Instant::now() + Duration::from_secs(3600),
        }
    }

    /// Greets the agent if it has begun a new session.
    async fn look_at_output(&mut self) -> Result<(), String> {
        self.look_for_swap();
        if self.greet { self.write_probe().await } else { Ok(()) }
    }

    async fn look(&mut self) -> Result<(), String> {
        if self.proven {
            // A new session has not been silent yet.
            let since = if self.look_for_swap() { None } else { self.link.pending.silent_since() };
            let silent = since.map_or(Duration::ZERO, |since| since.elapsed());
            if silent < SILENCE && !self.greet {
                return Ok(());
            }
            if silent > 2 * SILENCE {
                self.link.silent();
                self.reopen_output().await?;
            }
        } else if self.probe.first.is_some() {
            self.link.silent();
            // The second one: the agent may be out of step from the beginning.
            if self.probe.interval > 2 * PROBE_INTERVAL.0 {
                self.reopen_output().await?;
            }
        }
        self.write_probe().await
    }

    /// Hello and probe. Their answers are seen by [`Session::listen`].
    async fn write_probe(&mut self) -> Result<(), String> {
        let (number, id) = self.link.pending.next_id();
        self.probe = Probe {
            first: self.probe.first.or(Some(number)),
            accepted: self.heard.borrow().accepted,
            next: Instant::now() + self.probe.interval,
            interval: (self.probe.interval * 2).min(PROBE_INTERVAL.1),
        };
        let frame = with_hello(&probe(id + PROBE_SUFFIX));
        self.look_for_swap();
        self.greet = !self.write(&frame, 2).await?;
        Ok(())
    }

    /// Writes the oldest request that is to be written.
    async fn write_request(&mut self) -> Result<(), String> {
        // First: what was written before the swap comes before anything newer.
        self.look_for_swap();
        let Some((number, mut frame)) = self.link.pending.first_unwritten() else { return Ok(()) };
        let capacity = self.output.capacity();
        if frame.len() > capacity {
            let error = RequestError::TooLarge { size: frame.len(), capacity };
            self.link.pending.fail(number, error);
            return Ok(());
        }
        let mut frames = 1;
        if self.greet || Instant::now() < self.swapping_until || self.link.pending.is_overdue() {
            let greeted = with_hello(&frame);
            if greeted.len() <= capacity {
                frame = greeted;
                frames = 2;
            } else {
                self.greet = !self.write(&with_hello(&[]), 1).await?;
                if self.greet {
                    return Ok(());
                }
            }
        }
        // Before writing: the answer may be there before `write` returns.
        if !self.link.pending.written(number) {
            // It has ended while the Hello waited for room.
            return Ok(());
        }
        let written = self.write(&frame, frames).await?;
        if frames > 1 {
            self.greet = !written;
        }
        Ok(())
    }

    /// Notices that the agent has begun a new session on the same FIFOs. It must
    /// get a Hello, and what the former session has not answered. Returns whether it has.
    fn look_for_swap(&mut self) -> bool {
        let signs = self.output.signs();
        if signs.unlinked {
            tracing::info!("Ankaios' server has restarted; greeting its agent again");
            // Whoever removes the file has done away with the former session.
            self.swapping_until = Instant::now();
        } else if signs.opened {
            tracing::info!("the agent has opened output again; greeting it");
            self.swapping_until = Instant::now() + SWAP;
        } else {
            return false;
        }
        self.link.metrics.reconnected();
        self.greet = true;
        // It may be the same session: an agent that was out of step opens it, too. And
        // after the second sign the new session has had something already.
        self.go_on_with_session();
        true
    }

    /// Writes so many frames as a whole. What cannot be written within the timeout is
    /// dropped: whoever waits for it has given up by then. Returns whether it was written.
    async fn write(&mut self, frames: &[u8], count: u64) -> Result<bool, String> {
        let link = &mut *self.link;
        let begin = Instant::now();
        let end = begin + link.request_timeout;
        let write = |until| timeout_at(until, self.output.write_frame(frames));
        let mut until = begin + 2 * SILENCE;
        let written = loop {
            let written = link.progress.during(write(end.min(until))).await;
            if written.is_ok() || until >= end {
                break written;
            }
            // It may read slowly, and answer what it has read.
            let silent = link.pending.heard_at() + 2 * SILENCE;
            until = if silent > until {
                silent
            } else {
                link.silent();
                end
            };
        };
        match written {
            Ok(Ok(())) => {
                link.metrics.sent(count, frames.len());
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

    /// Takes notice of what the reader has heard.
    fn listen(&mut self) {
        let heard = self.heard.borrow_and_update().clone();
        let answered = self.probe.first.is_some_and(|first| heard.probe >= Some(first));
        let accepted = heard.accepted > self.probe.accepted;
        self.probe.accepted = heard.accepted;
        let answers_again = self.proven && heard.answers_again > self.answers_again;
        self.answers_again = heard.answers_again;
        if heard.closed.is_none() && (answered || accepted || answers_again) {
            self.proven = true;
            self.probe.first = None;
            self.probe.interval = PROBE_INTERVAL.0;
            self.link.set_status(LinkStatus::Connected);
        }
        if let Some(reason) = heard.closed {
            self.heard_sender.send_if_modified(|heard| {
                heard.closed = None;
                false
            });
            self.proven = false;
            // What they may still be answered with is the former session's.
            self.probe.first = None;
            let reason = format!(
                "the agent has closed the control interface: {reason:?}; restart the connector's \
                 workload or the Ankaios agent"
            );
            self.link.set_status(LinkStatus::Closed { reason: reason.clone() });
            self.link.pending.fail_all(&reason);
        }
    }

    async fn reader_stopped(&mut self, mut input: Receiver, stop: Stop) -> Result<(), String> {
        let unreadable = |error| Stop::Io(error).to_string();
        match stop {
            Stop::Eof if self.output.is_unlinked() => {
                // The last chance to be heard by the agent is not given away.
                sleep(OPEN_INTERVAL).await;
                input = reader::watch_anew(input).map_err(unreadable)?;
            }
            Stop::Eof => return Err(stop.to_string()),
            Stop::OutOfStep(_) | Stop::CutOff => {
                tracing::warn!("{stop}; skipping until it is silent");
                reader::skip(&mut input).await.map_err(unreadable)?;
                self.proven = false;
                self.probe.first = None;
                self.probe.next = Instant::now();
                // Some of the events may be among what was skipped.
                self.go_on_with_session();
            }
            Stop::Io(_) => return Err(stop.to_string()),
        }
        self.reader = spawn_reader(input, self.link, &self.heard_sender);
        Ok(())
    }

    /// Makes an agent that is out of step begin anew at the next frame.
    async fn reopen_output(&mut self) -> Result<(), String> {
        if self.output.is_unlinked() {
            return Ok(());
        }
        tracing::warn!("Ankaios does not answer; opening output anew");
        self.output.reopen(OPEN_INTERVAL).await.map_err(|error| error.to_string())?;
        repeating(self.link.pending.write_again());
        Ok(())
    }

    /// The agent knows of nothing that was before.
    fn begin_session(&mut self) {
        repeating(self.link.pending.begin_session());
    }

    /// Some of what the agent has got or sent may have been lost.
    fn go_on_with_session(&mut self) {
        self.link.pending.give_up_streams();
        repeating(self.link.pending.write_again());
    }
}

fn repeating(requests: usize) {
    if requests > 0 {
        tracing::info!(requests, "repeating what was not answered");
    }
}

fn spawn_reader(
    input: Receiver,
    link: &Link,
    heard: &watch::Sender<Heard>,
) -> AbortOnDropHandle<(Receiver, Stop)> {
    let pending = Arc::clone(&link.pending);
    let task = reader::read(input, pending, heard.clone(), link.metrics.clone());
    AbortOnDropHandle::new(tokio::spawn(task))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
