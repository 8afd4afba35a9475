//! Whether the connection to the broker is still alive.
//!
//! A connection that is gone without a word shows by silence only. So the
//! broker is pinged after half the keep-alive time without a packet from it,
//! and given up after the whole. A slow line is no dead one, hence:
//! - What is being sent gets time by its size. While a packet waits for the
//!   kernel to take it, a ping would have to wait behind it.
//! - How far a request has come is not known before it is there as a whole. So
//!   when a connection fell silent the next one gets twice the time, until the
//!   broker answers a ping. Otherwise a request that takes longer would be
//!   delivered again and again, and never arrive.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The slowest line that is waited for, in bytes per second.
const SLOWEST_LINE: usize = 16 * 1024;

/// What the kernel takes at most before the broker has got any of it, in bytes.
pub(super) const SEND_BUFFER: usize = 128 * 1024;

/// A packet that took longer to be sent had to wait for the broker to take what
/// was sent before.
const WAITED: Duration = Duration::from_millis(200);

/// How much longer than the keep-alive time the broker may be silent.
#[derive(Debug)]
pub(super) struct Patience {
    max_packet: usize,
    doublings: u32,
}

impl Patience {
    /// `max_packet` is the size of the largest packet that may come, in bytes.
    pub(super) fn new(max_packet: usize) -> Self {
        Self { max_packet, doublings: 0 }
    }

    /// A connection was given up because of silence.
    pub(super) fn in_vain(&mut self) {
        self.doublings += 1;
    }

    /// The broker has answered a ping.
    pub(super) fn answered(&mut self) {
        self.doublings = 0;
    }

    fn silence(&self, keep_alive: Duration) -> Duration {
        let longest = keep_alive + time_for(self.max_packet);
        keep_alive.saturating_mul(2u32.saturating_pow(self.doublings)).min(longest)
    }
}

fn time_for(bytes: usize) -> Duration {
    Duration::from_secs((bytes / SLOWEST_LINE) as u64)
}

/// Watches one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    keep_alive: Duration,
    /// How long the broker may be silent.
    silence: Duration,
    /// When the line was surely alive for the last time.
    alive: Instant,
    pinged: bool,
    /// Sizes of the packets that were submitted and not yet sent, in bytes.
    unsent: VecDeque<usize>,
    /// When the first of them could begin to be sent.
    begun: Instant,
}

impl Liveness {
    /// `keep_alive` is the time that was agreed with the broker.
    pub(super) fn new(keep_alive: Duration, patience: &Patience) -> Self {
        let now = Instant::now();
        Self {
            keep_alive,
            silence: patience.silence(keep_alive),
            alive: now,
            pinged: false,
            unsent: VecDeque::new(),
            begun: now,
        }
    }

    /// A packet has come.
    pub(super) fn heard(&mut self) {
        self.alive = Instant::now();
        self.pinged = false;
    }

    /// A packet of this many bytes was given to the client library.
    pub(super) fn submitted(&mut self, bytes: usize) {
        if self.unsent.is_empty() {
            self.begun = Instant::now();
        }
        self.unsent.push_back(bytes);
    }

    /// A packet was sent. What the kernel takes at once says nothing: it would
    /// do so also on a dead line.
    pub(super) fn sent(&mut self) {
        self.unsent.pop_front();
        let now = Instant::now();
        if now - self.begun > WAITED {
            self.alive = now;
        }
        self.begun = now;
    }

    /// A ping was sent.
    pub(super) fn pinged(&mut self) {
        self.pinged = true;
    }

    /// When to ping the broker; `None` while a ping would not be sent at once.
    pub(super) fn ping_at(&self) -> Option<Instant> {
        (self.unsent.is_empty() && !self.pinged).then(|| self.alive + self.keep_alive / 2)
    }

    /// When the connection is to be given up. `under_way` is the size of what
    /// was sent and not acknowledged, in bytes.
    pub(super) fn give_up_at(&self, under_way: usize) -> Instant {
        let sending = self.unsent.front().copied().unwrap_or(0);
        let bytes = under_way.min(SEND_BUFFER).saturating_add(sending);
        self.alive + self.silence + time_for(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const KEEP_ALIVE: Duration = Duration::from_secs(30);

    fn patience() -> Patience {
        Patience::new(100 * SLOWEST_LINE)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_pinged_at_half_time_and_given_up_in_the_end() {
        let start = Instant::now();
        let mut liveness = Liveness::new(KEEP_ALIVE, &patience());
        assert_eq!(liveness.ping_at(), Some(start + KEEP_ALIVE / 2));
        assert_eq!(liveness.give_up_at(0), start + KEEP_ALIVE);
        liveness.pinged();
        assert_eq!(liveness.ping_at(), None);
        advance(KEEP_ALIVE / 2).await;
        liveness.heard();
        assert_eq!(liveness.ping_at(), Some(start + KEEP_ALIVE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_packet_gets_time_to_be_sent() {
        let start = Instant::now();
        let mut liveness = Liveness::new(KEEP_ALIVE, &patience());
        liveness.submitted(SLOWEST_LINE * 100);
        assert_eq!(liveness.ping_at(), None);
        assert_eq!(liveness.give_up_at(0), start + KEEP_ALIVE + Duration::from_secs(100));
        advance(Duration::from_secs(90)).await;
        liveness.sent();
        // The kernel still has some of it.
        let rest = Duration::from_secs((SEND_BUFFER / SLOWEST_LINE) as u64);
        let give_up_at = liveness.give_up_at(SLOWEST_LINE * 100);
        assert_eq!(give_up_at, start + Duration::from_secs(90) + KEEP_ALIVE + rest);
        assert!(liveness.ping_at().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn small_packets_sent_into_the_void_do_not_keep_a_connection_alive() {
        let start = Instant::now();
        let mut liveness = Liveness::new(KEEP_ALIVE, &patience());
        for _ in 0..20 {
            advance(Duration::from_secs(1)).await;
            liveness.submitted(100);
            liveness.sent();
        }
        assert_eq!(liveness.give_up_at(20 * 100), start + KEEP_ALIVE);
    }

    #[tokio::test(start_paused = true)]
    async fn each_silence_in_a_row_is_borne_longer_until_a_ping_is_answered() {
        let mut patience = patience();
        let borne = |patience: &Patience| {
            Liveness::new(KEEP_ALIVE, patience).give_up_at(0) - Instant::now()
        };
        patience.in_vain();
        assert_eq!(borne(&patience), 2 * KEEP_ALIVE);
        patience.in_vain();
        patience.in_vain();
        assert_eq!(borne(&patience), KEEP_ALIVE + Duration::from_secs(100));
        patience.answered();
        assert_eq!(borne(&patience), KEEP_ALIVE);
    }
}
