//! Requests that have come and that nobody has taken yet.
//!
//! Of requests with QoS 1 the broker should send no more than Receive Maximum.
//! Those with QoS 0 cannot be held back, so there is a limit for them here.

use std::collections::VecDeque;

use super::request::{Refused, Request};

/// Beyond so many requests, or so many bytes, a request is answered with an
/// error instead of being served.
const MAX_SERVED: usize = 4096;
const MAX_SERVED_BYTES: usize = 16 * 1024 * 1024;

/// Beyond so many, or so many bytes, not even an error is kept for it.
const MAX_ANSWERED: usize = 4 * MAX_SERVED;
const MAX_ANSWERED_BYTES: usize = 2 * MAX_SERVED_BYTES;

/// A queue with limits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    requests: VecDeque<Request>,
    bytes: usize,
    dropped: u64,
}

impl Waiting {
    /// Adds a request of QoS 1, whose number is limited by the broker; its payload
    /// only while there are less than `max_bytes` of them.
    pub(super) fn push(&mut self, mut request: Request, max_bytes: usize) {
        if self.bytes >= max_bytes && request.payload.is_ok() {
            request.payload = Err(Refused::TooMany);
        }
        self.bytes += size(&request);
        self.requests.push_back(request);
    }

    /// Adds a request of QoS 0, as far as the limits allow. Returns how many
    /// were thrown away so far, if this one was, too.
    pub(super) fn push_within_limits(&mut self, mut request: Request) -> Result<(), u64> {
        if self.requests.len() >= MAX_ANSWERED
            || self.bytes + size_without_payload(&request) > MAX_ANSWERED_BYTES
        {
            self.dropped += 1;
            return Err(self.dropped);
        }
        if self.requests.len() >= MAX_SERVED || self.bytes + size(&request) > MAX_SERVED_BYTES {
            request.payload = Err(Refused::TooMany);
        }
        self.push(request, usize::MAX);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.bytes -= size(&request);
        Some(request)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.bytes = 0;
    }
}

fn size(request: &Request) -> usize {
    size_without_payload(request) + request.payload.as_ref().map_or(0, bytes::Bytes::len)
}

/// What an error needs, too.
fn size_without_payload(request: &Request) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    request.topic.len()
        + length(&request.response_topic)
        + length(&request.request_id)
        + request.correlation_data.as_ref().map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(size: usize) -> Request {
        Request {
            delivery: 0,
            topic: String::new(),
            retained: false,
            payload: Ok(Bytes::from(vec![0; size])),
            response_topic: None,
            correlation_data: None,
            request_id: None,
            force: false,
        }
    }

    #[test]
    fn a_flood_is_answered_with_errors_and_then_dropped() {
        let mut waiting = Waiting::default();
        let mut dropped = 0;
        for _ in 0..MAX_ANSWERED + 10 {
            dropped = waiting.push_within_limits(request(1)).err().unwrap_or(dropped);
        }
        assert_eq!(dropped, 10);
        let requests: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
        let refused = requests.iter().filter(|one| one.payload == Err(Refused::TooMany)).count();
        assert_eq!((requests.len(), refused), (MAX_ANSWERED, MAX_ANSWERED - MAX_SERVED));
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn what_comes_besides_the_payload_counts_too() {
        let mut waiting = Waiting::default();
        let correlated = || Request {
            correlation_data: Some(Bytes::from(vec![0; 65_535])),
            response_topic: Some("t".repeat(60_000)),
            ..request(0)
        };
        let kept = (0..1000).filter(|_| waiting.push_within_limits(correlated()).is_ok()).count();
        assert!((200..300).contains(&kept), "{kept}");
    }

    #[test]
    fn large_payloads_are_limited_by_their_bytes() {
        let mut waiting = Waiting::default();
        for _ in 0..20 {
            assert_eq!(waiting.push_within_limits(request(1024 * 1024)), Ok(()));
        }
        let served = std::iter::from_fn(|| waiting.pop()).filter(|one| one.payload.is_ok());
        assert_eq!(served.count(), 16);
    }
}
