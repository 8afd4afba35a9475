//! Whether the connection to the broker is still alive.
//!
//! A connection that is gone without a word shows by silence only. So the
//! broker is pinged after half the keep-alive time without a packet from it,
//! and given up after the whole. While a packet is being written the ping would
//! have to wait behind it; a slow uplink gets time by the size of the packet.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The slowest uplink that is waited for, in bytes per second.
const SLOWEST_UPLINK: usize = 16 * 1024;

/// Watches one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    keep_alive: Duration,
    heard: Instant,
    pinged: bool,
    /// Sizes of the packets that were submitted and not yet sent, in bytes.
    unsent: VecDeque<usize>,
    /// When a packet was sent for the last time, or began to be.
    progress: Instant,
}

impl Liveness {
    pub(super) fn new(keep_alive: Duration) -> Self {
        let now = Instant::now();
        Self { keep_alive, heard: now, pinged: false, unsent: VecDeque::new(), progress: now }
    }

    /// A packet has come.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
        self.pinged = false;
    }

    /// A packet of this many bytes was given to the client library.
    pub(super) fn submitted(&mut self, bytes: usize) {
        if self.unsent.is_empty() {
            self.progress = Instant::now();
        }
        self.unsent.push_back(bytes);
    }

    /// A packet was sent.
    pub(super) fn sent(&mut self) {
        self.unsent.pop_front();
        self.progress = Instant::now();
    }

    /// A ping was sent.
    pub(super) fn pinged(&mut self) {
        self.pinged = true;
    }

    /// When to ping the broker; `None` while a ping would not be sent at once.
    pub(super) fn ping_at(&self) -> Option<Instant> {
        (self.unsent.is_empty() && !self.pinged).then(|| self.heard + self.keep_alive / 2)
    }

    /// When the connection is to be given up.
    pub(super) fn give_up_at(&self) -> Instant {
        match self.unsent.front() {
            None => self.heard.max(self.progress) + self.keep_alive,
            Some(bytes) => {
                let seconds = (bytes / SLOWEST_UPLINK) as u64;
                self.progress + self.keep_alive + Duration::from_secs(seconds)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const KEEP_ALIVE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn silence_is_pinged_at_half_time_and_given_up_in_the_end() {
        let start = Instant::now();
        let mut liveness = Liveness::new(KEEP_ALIVE);
        assert_eq!(liveness.ping_at(), Some(start + KEEP_ALIVE / 2));
        assert_eq!(liveness.give_up_at(), start + KEEP_ALIVE);
        liveness.pinged();
        assert_eq!(liveness.ping_at(), None);
        advance(KEEP_ALIVE / 2).await;
        liveness.heard();
        assert_eq!(liveness.ping_at(), Some(start + KEEP_ALIVE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_packet_gets_time_to_be_sent() {
        let start = Instant::now();
        let mut liveness = Liveness::new(KEEP_ALIVE);
        liveness.submitted(SLOWEST_UPLINK * 100);
        assert_eq!(liveness.ping_at(), None);
        assert_eq!(liveness.give_up_at(), start + KEEP_ALIVE + Duration::from_secs(100));
        advance(Duration::from_secs(90)).await;
        liveness.sent();
        assert_eq!(liveness.give_up_at(), start + Duration::from_secs(90) + KEEP_ALIVE);
        assert!(liveness.ping_at().is_some());
    }
}
