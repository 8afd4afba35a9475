//! Faults of the simulated Ankaios. All of them have been observed on a real one.

use std::fmt;
use std::time::Duration;

use ankaios_model::proto::ank_base::Request;

/// What happens to a request or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is neither served nor answered.
    LoseRequest,
    /// The request is served but not answered. Its events are still sent.
    LoseAnswer,
    /// The request is served at once, but answered after this delay. Other answers may overtake
    /// it.
    DelayAnswer(Duration),
    /// The answer has this request id instead of its own.
    AnswerAs(String),
    /// The answer is sent this many additional times.
    RepeatAnswer(usize),
}

/// How fast the simulated agent reads `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadPace {
    /// As fast as the workload writes.
    #[default]
    Full,
    /// This many bytes per second, in small pieces.
    BytesPerSecond(u32),
    /// Nothing is read until the pace changes.
    Paused,
}

type Predicate = Box<dyn FnMut(&Request) -> bool + Send>;

/// A fault for the requests that match.
struct FaultRule {
    matches: Predicate,
    /// The number of requests that it still applies to.
    times: usize,
    fault: Fault,
}

impl fmt::Debug for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultRule").field("times", &self.times).field("fault", &self.fault).finish()
    }
}

/// How long writing a frame may take. After that its rest is not written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteLimit(pub(crate) Duration);

impl Default for WriteLimit {
    fn default() -> Self {
        Self(Duration::from_millis(500))
    }
}

/// The active faults.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<FaultRule>,
    /// The server accepts requests and answers none.
    pub(crate) server_down: bool,
    pub(crate) pace: ReadPace,
    /// The agent drops a partially read frame when it has a response to send.
    pub(crate) lose_half_read_frames: bool,
    /// How long the agent tries to write a frame.
    pub(crate) write_limit: WriteLimit,
    /// Log entries that are sent after a log stream was cancelled.
    pub(crate) entries_after_cancel: usize,
    /// The largest message between server and agent, in bytes.
    pub(crate) max_message: Option<usize>,
}

impl Faults {
    /// Adds a fault for the next `times` requests that match.
    pub(crate) fn add(
        &mut self,
        times: usize,
        fault: Fault,
        matches: impl FnMut(&Request) -> bool + Send + 'static,
    ) {
        self.rules.push(FaultRule { matches: Box::new(matches), times, fault });
    }

    /// Removes all rules.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault of the first rule that matches a request.
    pub(crate) fn fault_for(&mut self, request: &Request) -> Option<Fault> {
        let index = self.rules.iter_mut().position(|rule| (rule.matches)(request))?;
        let rule = self.rules.get_mut(index)?;
        let fault = rule.fault.clone();
        rule.times = rule.times.saturating_sub(1);
        if rule.times == 0 {
            self.rules.remove(index);
        }
        Some(fault)
    }
}
