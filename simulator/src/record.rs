//! What has reached the simulated Ankaios, for tests to look at.

use std::collections::VecDeque;

use fleet_connector::proto::ank_base::Request;

/// Requests and problems kept; the oldest go first. The counters go on.
const KEPT: usize = 10_000;

/// Something the simulated agent could make no sense of, or that a workload
/// should not do.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// A frame that is no `ToAnkaios` message.
    Undecodable {
        /// The length of the frame in bytes.
        length: usize,
    },
    /// A length that no message has; what follows is thrown away.
    AbsurdLength(u64),
    /// A request that came before Hello, which closes the session for good.
    RequestBeforeHello(Box<Request>),
    /// An update without a new state. It makes a real agent lose its server.
    UpdateWithoutState {
        /// The id of the request, which is not answered.
        request_id: String,
    },
    /// A Hello with a version that is not supported, which closes the session.
    UnsupportedVersion(String),
    /// The workload closed its end in the middle of a frame.
    CutOff {
        /// The bytes of the frame that had arrived.
        received: usize,
    },
    /// The agent had a reply to deliver and lost the frame it was reading.
    LostHalfFrame {
        /// The bytes of the frame that had arrived.
        received: usize,
    },
    /// The workload did not read, and a frame to it was cut off.
    SlowReader {
        /// The bytes of the frame that were written.
        written: usize,
        /// The length of the frame in bytes.
        length: usize,
    },
}

/// How much has arrived since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Hellos, the silent ones included.
    pub hellos: u64,
    /// Requests of all kinds, the dropped and denied ones included.
    pub requests: u64,
    /// How often the workload has closed `output` and the agent has seen it. One
    /// that is reopened at once may go unseen.
    pub closings: u64,
    /// Frames written to the workload in full.
    pub delivered: u64,
    /// Problems of all kinds.
    pub problems: u64,
}

/// The log of what has arrived.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) requests: VecDeque<Request>,
    pub(crate) problems: VecDeque<Problem>,
    pub(crate) counters: Counters,
}

impl Record {
    pub(crate) fn request(&mut self, request: &Request) {
        self.counters.requests += 1;
        keep(&mut self.requests, request.clone());
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.counters.problems += 1;
        keep(&mut self.problems, problem);
    }
}

fn keep<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == KEPT {
        queue.pop_front();
    }
    queue.push_back(item);
}
