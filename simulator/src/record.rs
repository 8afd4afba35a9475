//! What has reached the simulated Ankaios, for tests to look at.

use std::collections::VecDeque;

use fleet_connector::proto::ank_base::Request;
use prost::Message;

/// Requests and problems kept; the oldest go first. The counters go on.
const KEPT: usize = 10_000;

/// Bytes of requests kept, as they were on the wire.
const KEPT_BYTES: usize = 64 << 20;

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
    /// Sessions that the agent has ended with `ConnectionClosed`.
    pub closed: u64,
    /// Frames written to the workload in full.
    pub delivered: u64,
    /// Problems of all kinds.
    pub problems: u64,
}

/// The log of what has arrived.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) requests: VecDeque<Request>,
    request_bytes: usize,
    pub(crate) problems: VecDeque<Problem>,
    pub(crate) counters: Counters,
}

impl Record {
    pub(crate) fn request(&mut self, request: &Request) {
        self.counters.requests += 1;
        self.requests.push_back(request.clone());
        self.request_bytes += request.encoded_len();
        while self.requests.len() > KEPT || self.request_bytes > KEPT_BYTES {
            let Some(oldest) = self.requests.pop_front() else { break };
            self.request_bytes -= oldest.encoded_len();
        }
    }

    pub(crate) fn forget(&mut self) {
        self.requests.clear();
        self.request_bytes = 0;
        self.problems.clear();
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.counters.problems += 1;
        self.problems.push_back(problem);
        if self.problems.len() > KEPT {
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
    fn only_the_last_requests_are_kept_and_all_are_counted() {
        let mut record = Record::default();
        for number in 0..=KEPT {
            record.request(&request(number.to_string()));
        }
        assert_eq!(record.requests.len(), KEPT);
        assert_eq!(record.requests.front(), Some(&request("1".to_owned())));
        assert_eq!(record.counters.requests, KEPT as u64 + 1);
    }

    #[test]
    fn large_requests_push_out_older_ones() {
        let mut record = Record::default();
        let large = request("x".repeat(KEPT_BYTES / 2 + 1));
        record.request(&request("small".to_owned()));
        record.request(&large);
        record.request(&large);
        assert_eq!(record.requests.len(), 1);
        record.forget();
        assert_eq!(record.request_bytes, 0);
    }
}
