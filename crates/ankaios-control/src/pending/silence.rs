//! How long Ankaios has not answered.

use tokio::time::Instant;

/// When Ankaios answered last, and what was sent to it since.
#[derive(Debug)]
pub(super) struct Silence {
    last_answer: Instant,
    /// When the first request since the last answer was written.
    first_request: Option<Instant>,
    /// A request or a probe has timed out since the last answer.
    unresponsive: bool,
}

impl Silence {
    pub(super) fn new() -> Self {
        Self { last_answer: Instant::now(), first_request: None, unresponsive: false }
    }

    /// Records that a request was written.
    pub(super) fn request_written(&mut self, now: Instant) {
        self.first_request.get_or_insert(now);
    }

    /// Records an answer. Returns whether Ankaios was unresponsive before.
    pub(super) fn answered(&mut self) -> bool {
        let unresponsive = self.unresponsive;
        *self = Self::new();
        unresponsive
    }

    /// Records that a request or a probe has timed out.
    pub(super) fn mark_unresponsive(&mut self) {
        // If other requests were answered in the meantime, the silence begins now: a probe
        // follows, and its answer shows that Ankaios is responsive.
        self.first_request.get_or_insert_with(Instant::now);
        self.unresponsive = true;
    }

    pub(super) fn is_unresponsive(&self) -> bool {
        self.unresponsive
    }

    pub(super) fn last_answer(&self) -> Instant {
        self.last_answer
    }

    /// The beginning of the silence; `None` if no answer is expected. `oldest_unanswered` is
    /// when the oldest request that still awaits its answer was written.
    pub(super) fn since(
        &self,
        oldest_unanswered: impl FnOnce() -> Option<Instant>,
    ) -> Option<Instant> {
        if self.unresponsive {
            // Also if all requests were abandoned.
            return self.first_request;
        }
        Some(oldest_unanswered()?.max(self.last_answer))
    }
}
