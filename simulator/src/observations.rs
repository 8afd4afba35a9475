//! What the simulated Ankaios has received, for tests to check.

use std::collections::VecDeque;

use ankaios_model::proto::ank_base::Request;
use prost::Message;

/// Maximum number of stored requests, and of stored problems. The oldest are dropped first.
const MAX_STORED: usize = 10_000;

/// Maximum size of the stored requests in bytes, encoded.
const MAX_STORED_BYTES: usize = 64 << 20;

/// Something that the simulated agent could not understand, or that a workload should not do.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// A frame does not contain a `ToAnkaios` message.
    Undecodable {
        /// The length of the frame in bytes.
        length: usize,
    },
    /// No message has this length. The agent discards what follows.
    InvalidLength(u64),
    /// A request came before Hello. The agent closes the session for good.
    RequestBeforeHello(Box<Request>),
    /// An update has no new state. It makes a real agent lose its connection to the server.
    UpdateWithoutState {
        /// The id of the request. It is not answered.
        request_id: String,
    },
    /// A Hello has an unsupported version. The agent closes the session.
    UnsupportedVersion(String),
    /// The workload closed `output` in the middle of a frame.
    CutOff {
        /// The number of bytes of the frame that had arrived.
        received: usize,
    },
    /// The agent had a response to send and dropped the frame that it had partially read.
    LostHalfFrame {
        /// The number of bytes of the frame that had arrived.
        received: usize,
    },
    /// The workload did not read, and the agent wrote only a part of a frame, or nothing of it.
    SlowReader {
        /// The number of bytes that were written.
        written: usize,
        /// The length of the frame in bytes.
        length: usize,
    },
}

/// Counters since the start of the simulated vehicle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Hellos, including those that are not answered.
    pub hellos: u64,
    /// Requests, including those that are dropped or denied.
    pub requests: u64,
    /// How often the agent has read the end of `output`. It may not notice that a workload has
    /// closed and reopened `output` at once.
    pub output_closings: u64,
    /// Sessions that the agent has closed with `ConnectionClosed`.
    pub closed_sessions: u64,
    /// How often the connection of the agent to its server has broken, because of a response that
    /// is too large for it.
    pub broken_connections: u64,
    /// Responses that were written to `input` completely.
    pub delivered: u64,
    /// Problems.
    pub problems: u64,
}

/// Requests, problems and counters.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    pub(crate) requests: VecDeque<Request>,
    request_bytes: usize,
    pub(crate) problems: VecDeque<Problem>,
    pub(crate) counters: Counters,
}

impl Observations {
    /// Stores and counts a request.
    pub(crate) fn request(&mut self, request: &Request) {
        self.counters.requests += 1;
        self.requests.push_back(request.clone());
        self.request_bytes += request.encoded_len();
        while self.requests.len() > MAX_STORED || self.request_bytes > MAX_STORED_BYTES {
            let Some(oldest) = self.requests.pop_front() else { break };
            self.request_bytes -= oldest.encoded_len();
        }
    }

    /// Removes the stored requests and problems.
    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.request_bytes = 0;
        self.problems.clear();
    }

    /// Stores and counts a problem.
    pub(crate) fn problem(&mut self, problem: Problem) {
        self.counters.problems += 1;
        self.problems.push_back(problem);
        if self.problems.len() > MAX_STORED {
            self.problems.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: String) -> Request {
        Request { request_id: id, request_content: None }
    }

    #[test]
    fn only_the_last_requests_are_stored_and_all_are_counted() {
        let mut observations = Observations::default();
        for number in 0..=MAX_STORED {
            observations.request(&request(number.to_string()));
        }
        assert_eq!(observations.requests.len(), MAX_STORED);
        assert_eq!(observations.requests.front(), Some(&request("1".to_owned())));
        assert_eq!(observations.counters.requests, MAX_STORED as u64 + 1);
    }

    #[test]
    fn large_requests_replace_older_ones() {
        let mut observations = Observations::default();
        let large = request("x".repeat(MAX_STORED_BYTES / 2 + 1));
        observations.request(&request("small".to_owned()));
        observations.request(&large);
        observations.request(&large);
        assert_eq!(observations.requests.len(), 1);
        observations.clear();
        assert_eq!(observations.request_bytes, 0);
    }
}
